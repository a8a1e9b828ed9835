/**
 * Names that CRIU gives, beside it, to a file that the program holds open under a name it no longer has
 * (`--link-remap`, criu/files-reg.c). A checkpoint needs them and a restore removes them; where the program runs on
 * instead, removing them is ours.
 */
import { lstat, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

const NAME = /^link_remap\.\d+$/;

/** Removes them below `directory`. A file of that name that has no other name is the job's own. */
export async function removeLinkRemaps(directory: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true });
  for (const entry of entries.filter((path) => NAME.test(basename(path)))) {
    const path = join(directory, entry);
    if ((await lstat(path)).nlink > 1) await rm(path);
  }
}
