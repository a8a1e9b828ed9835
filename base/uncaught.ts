/**
 * What happens with an error that nobody caught: one in a callback, or of a promise that nobody waits for. Node itself would
 * print every field of it, and a library's error may hold a password.
 */
import { writeSync } from 'node:fs';
import { describeError } from './redact.ts';

type Handler = (error: unknown, origin: string) => void;

/** The last one is asked. */
const handlers: Handler[] = [];

function ask(error: unknown, origin: string): void {
  handlers.at(-1)?.(error, origin);
}

/** From now on this handler is asked, and no other, until it is disposed of. */
export function handleUncaught(handler: Handler): Disposable {
  // For a rejected promise, too: with a listener of this kind Node tells it here.
  if (handlers.length === 0) process.on('uncaughtException', ask);
  handlers.push(handler);
  return {
    [Symbol.dispose]: () => {
      handlers.splice(handlers.lastIndexOf(handler), 1);
      if (handlers.length === 0) process.off('uncaughtException', ask);
    },
  };
}

/** From now on such an error ends the process with this exit code and is told on stderr. */
export function exitOnUncaught(program: string, exitCode: number): void {
  handleUncaught((error) => {
    writeSync(process.stderr.fd, `${program}: ${describeError(error)}\n`);
    process.exit(exitCode);
  });
}
