/**
 * Where CRIU's images are on their way in or out: small ones at a freeze, and all memory at a thaw that is not lazy. In
 * memory (tmpfs), so that nothing of what a program has in its memory touches a disk of the machine.
 *
 * Each process has a folder of its own there, and its runs have folders in that. It is swept by whoever comes next, when
 * the process is dead: what is left in memory would be lost to the machine until it starts again.
 */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { lstat, mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { FreezerError } from '../errors.ts';
import { holdStateFolder, sweepStateFolders } from './stateFolder.ts';

export const DEFAULT_IMAGES_DIRECTORY = '/dev/shm/floe';
/** TMPFS_MAGIC in statfs(2). */
const TMPFS = 0x01021994;
/** Container engines give a container 64 MiB at /dev/shm unless they are told otherwise: too little to thaw anything. */
const SMALLEST_BYTES = 256 * 2 ** 20;
const REMEDY = 'Name a folder on a tmpfs in `worker.imagesDir` (FLOE_IMAGES_DIR); in a container, mount one there.';

export interface ImagesPlace {
  /** This process's own, for the folders of its runs. */
  readonly directory: string;
  /** False where images are written to a disk. */
  readonly isMemory: boolean;
}

const opened = new Map<string, Promise<ImagesPlace>>();

/**
 * The place `asked` for, whatever file system it is on; or the default one, or the state folder where that is no place for
 * images. Says in a process warning, once, when images will touch a disk. Throws `FreezerError` `cannotRun` where the
 * place asked for cannot be used.
 */
export async function openImagesPlace(asked: string | undefined, stateDirectory: string): Promise<ImagesPlace> {
  if (asked !== undefined) return await openOnce(asked, '');
  const flaw = await flawOf(DEFAULT_IMAGES_DIRECTORY);
  return flaw === null ? await openOnce(DEFAULT_IMAGES_DIRECTORY, '') : await openOnDisk(stateDirectory, flaw);
}

/** In the state folder, for a reason that is told: a sentence's beginning. */
export function openOnDisk(stateDirectory: string, why: string): Promise<ImagesPlace> {
  return openOnce(join(stateDirectory, 'images'), `${why}. `);
}

/** Whether this folder's content is in memory. It, or the folder that it is to be made in, must exist. */
export async function isInMemory(directory: string): Promise<boolean> {
  return (await statfs(directory)).type === TMPFS;
}

/** What is wrong with the default place, or null. */
async function flawOf(directory: string): Promise<string | null> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const { type, blocks, bsize } = await statfs(directory);
    if (type !== TMPFS) return `${directory} is not on a tmpfs`;
    if (blocks * bsize < SMALLEST_BYTES) return `${directory} has ${Math.floor((blocks * bsize) / 2 ** 20)} MiB in all`;
    await refuseForeign(directory);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
  }
}

/** Anybody can make a folder in /dev/shm, and put there what he likes before we do. */
async function refuseForeign(directory: string): Promise<void> {
  const stats = await lstat(directory);
  if (stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o022) === 0) return;
  throw new FreezerError('cannotRun', `${directory} does not belong to this user alone.`, `Remove it. ${REMEDY}`);
}

function openOnce(parent: string, why: string): Promise<ImagesPlace> {
  const known = opened.get(parent);
  if (known) return known;
  const opening = open(parent, why).catch((error: unknown) => {
    opened.delete(parent);
    if (error instanceof FreezerError) throw error;
    throw new FreezerError('cannotRun', `CRIU's images cannot be kept in ${parent}: ${error}`, REMEDY, {
      cause: error,
    });
  });
  opened.set(parent, opening);
  return opening;
}

async function open(parent: string, why: string): Promise<ImagesPlace> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  await refuseForeign(parent);
  const directory = join(parent, randomUUID());
  await holdStateFolder(directory);
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  await sweepStateFolders(directory);
  const isMemory = await isInMemory(directory);
  if (!isMemory)
    process.emitWarning(`${why}CRIU's images, which hold jobs' memory, are written to ${parent}, on a disk. ${REMEDY}`);
  return { directory, isMemory };
}
