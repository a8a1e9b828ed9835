/** The last words of a process in which nobody caught an error. */
import { writeSync } from 'node:fs';
import { describeError } from './redact.ts';

/**
 * From now on an error that nobody caught ends the process with this exit code and is told on stderr. Node itself would print
 * every field of it, and a library's error may hold a password.
 */
export function exitOnUncaught(program: string, exitCode: number): void {
  process.once('uncaughtException', (error) => {
    writeSync(process.stderr.fd, `${program}: ${describeError(error)}\n`);
    process.exit(exitCode);
  });
}
