import { ExecaError } from 'execa';
import { FreezerError } from '../errors.ts';
import { isNoSpace } from '../noSpace.ts';

/** `diskFull` for what a file system, or a program that writes to one, said when there was no room; anything else as it is. */
export function explainDiskFull(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof FreezerError) return error;
  const words = error instanceof ExecaError ? String(error.stderr) : error.message;
  if (!isNoSpace(error) && !(error instanceof ExecaError && /no space left|quota exceeded/i.test(words))) return error;
  return new FreezerError('diskFull', `The disk is full: ${words}`, 'Free space in the state folder.', {
    cause: error,
  });
}
