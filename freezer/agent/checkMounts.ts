/** Whether Floe's folders are where the worker mounted them (native/checkMounts.c). */
import { FreezerError } from '../errors.ts';
import { toolbox } from '../toolbox.ts';
import { endOfProgram } from './program.ts';

/** The exit status of `check-mounts` when a mount is not in its place. */
export const MISPLACED = 94;

/**
 * Checks once more, when the files of the job are all there. The container's first program did it before: that check keeps an image
 * from running its own program as Floe's, this one a checkpoint from changing what Floe finds. Throws `FreezerError` `unsupported`
 * when a mount is not in its place, `failed` when that cannot be found out.
 */
export async function checkMounts(expected: readonly string[]): Promise<void> {
  const { words, code } = await endOfProgram(toolbox.checkMounts, expected);
  if (code === MISPLACED) throw misplaced(words);
  if (code !== 0) throw new FreezerError('failed', `The mounts cannot be checked: ${words}.`, 'Floe tries again.');
}

/** `words`: what `check-mounts` said. Whether a link is in the way can be seen only when the engine has followed it. */
export function misplaced(words: string): FreezerError {
  return new FreezerError(
    'unsupported',
    `The job's container is refused, for a folder is not where Floe mounted it: ${words.trim().replace(/^floe: /, '')}.`,
    'Keep symbolic links out of the paths /floe, /workspace, /dev/shm and of all volumes, in the image and in the files of the job.',
  );
}
