/** Paths that no machine could make again: a thaw puts the folder of its own run before them, and the kernel takes 4095 bytes. */
import { FreezerError } from '../errors.ts';

/** What remains is for the state folder's own path, on whatever machine. */
const LONGEST_PATH_BYTES = 3500;

/** Throws `FreezerError` `cannotFreeze` for a path, relative to the folders that move, that is too long. */
export function refuseLongPath(path: string): void {
  if (Buffer.byteLength(path) > LONGEST_PATH_BYTES) throw pathTooLong(path);
}

export function pathTooLong(path: string): FreezerError {
  const what = `The job cannot be frozen: a path among its files is longer than ${LONGEST_PATH_BYTES} bytes: ${path.slice(0, 100)}…`;
  return new FreezerError('cannotFreeze', what, 'Let the program nest its folders less deeply, or remove these.');
}
