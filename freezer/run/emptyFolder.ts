import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Removes everything in a folder, but not the folder: it may be mounted somewhere. */
export async function emptyFolder(directory: string): Promise<void> {
  const names = await readdir(directory);
  await Promise.all(names.map((name) => rm(join(directory, name), { recursive: true, force: true })));
}
