import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { FreezerError } from '../errors.ts';

/** Runs one of Floe's own small programs to its end. Throws `FreezerError` `failed` with its last words when that is not a success. */
export async function runProgram(program: string, options: readonly string[] = []): Promise<void> {
  const { words, code } = await endOfProgram(program, options);
  if (code === 0) return;
  const message = `${program} failed: ${words || `its exit status is ${code}`}.`;
  throw new FreezerError(
    'failed',
    message,
    'See which capabilities the container has: it needs SYS_ADMIN and NET_ADMIN.',
  );
}

/** As `runProgram`, for one whose exit status says more. Null when it was killed. */
export async function endOfProgram(
  program: string,
  options: readonly string[],
): Promise<{ words: string; code: number | null }> {
  const child = spawn(program, options, { stdio: ['ignore', 'ignore', 'pipe'], env: {} });
  const [words, [code]] = await Promise.all([text(child.stderr), once(child, 'close') as Promise<[number | null]>]);
  return { words: words.trim(), code };
}
