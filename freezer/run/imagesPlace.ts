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
import { dirname, join } from 'node:path';
import { KeyRing } from '../encryption/keyRing.ts';
import { FreezerError } from '../errors.ts';
import { makeClosedFolder } from './folder.ts';
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
  /** In it, for all of its runs. */
  readonly common: string;
  /** False where images are written to a disk. */
  readonly isMemory: boolean;
}

const opened = new Map<string, Promise<ImagesPlace>>();
/** Their directories. */
const warnedOf = new Set<string>();

/**
 * The place `asked` for, whatever file system it is on; or the default one, or the state folder where that is no place for
 * images. Says in a process warning, once, when images will touch a disk. Throws `FreezerError` `cannotRun` where the
 * place asked for cannot be used.
 */
export async function openImagesPlace(asked: string | undefined, stateDirectory: string): Promise<ImagesPlace> {
  const flaw = asked === undefined ? await flawOf(DEFAULT_IMAGES_DIRECTORY) : null;
  const images = flaw === null ? await openOnce(asked ?? DEFAULT_IMAGES_DIRECTORY) : await openInState(stateDirectory);
  warnOfDisk(images, flaw?.message);
  return images;
}

/**
 * What to ask for: what the user has, or, where checkpoints are encrypted, the default place and no other. What a store must not see must
 * not get to a disk because somebody made that folder before us, or because it is too small: who wants that has to say so. Throws
 * `FreezerError`: `cannotRun` where the default place cannot be used, `wrongKey` for a key that is none.
 *
 * @param encryptionKeys as in a `CheckpointPlace`
 */
export async function chooseImagesDirectory(
  asked: string | undefined,
  encryptionKeys: readonly string[],
): Promise<string | undefined> {
  if (asked !== undefined || KeyRing.of(encryptionKeys).current === null) return asked;
  const flaw = await flawOf(DEFAULT_IMAGES_DIRECTORY);
  if (flaw === null) return DEFAULT_IMAGES_DIRECTORY;
  const what = `${flaw.message} There is an encryption key, and jobs' memory would be written to a disk in the clear.`;
  throw new FreezerError('cannotRun', what, flaw.remedy, { cause: flaw });
}

/** In the state folder. Nothing is said yet: whoever tries whether that serves warns once it does. */
export function openInState(stateDirectory: string): Promise<ImagesPlace> {
  return openOnce(join(stateDirectory, 'images'));
}

/** Says once for each place that images touch a disk there, and why: a sentence, or nothing where that was asked for. */
export function warnOfDisk({ directory, isMemory }: ImagesPlace, why = ''): void {
  if (isMemory || warnedOf.has(directory)) return;
  warnedOf.add(directory);
  const what = `CRIU's images, which hold jobs' memory, are written to ${dirname(directory)}, on a disk.`;
  process.emitWarning(`${why} ${what} ${REMEDY}`.trim());
}

/** Whether this folder's content is in memory. It, or the folder that it is to be made in, must exist. */
export async function isInMemory(directory: string): Promise<boolean> {
  return (await statfs(directory)).type === TMPFS;
}

/** What is wrong with the default place, or null. */
async function flawOf(directory: string): Promise<FreezerError | null> {
  const flaw = (what: string, cause?: unknown) => new FreezerError('cannotRun', `${what}.`, REMEDY, { cause });
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await refuseForeign(directory);
    const { type, blocks, bsize } = await statfs(directory);
    if (type !== TMPFS) return flaw(`${directory} is not on a tmpfs`);
    const sizeBytes = blocks * bsize;
    if (sizeBytes < SMALLEST_BYTES) return flaw(`${directory} has ${Math.floor(sizeBytes / 2 ** 20)} MiB in all`);
    return null;
  } catch (error) {
    return error instanceof FreezerError ? error : flaw(`${directory} cannot be used: ${error}`, error);
  }
}

/** Anybody can make a folder in /dev/shm, and put there what he likes before we do. */
async function refuseForeign(directory: string): Promise<void> {
  const stats = await lstat(directory);
  if (stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o022) === 0) return;
  throw new FreezerError('cannotRun', `${directory} does not belong to this user alone.`, `Remove it. ${REMEDY}`);
}

function openOnce(parent: string): Promise<ImagesPlace> {
  const known = opened.get(parent);
  if (known) return known;
  const opening = open(parent).catch((error: unknown) => {
    opened.delete(parent);
    if (error instanceof FreezerError) throw error;
    throw new FreezerError('cannotRun', `CRIU's images cannot be kept in ${parent}: ${error}`, REMEDY, {
      cause: error,
    });
  });
  opened.set(parent, opening);
  return opening;
}

async function open(parent: string): Promise<ImagesPlace> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  await refuseForeign(parent);
  const directory = join(parent, randomUUID());
  await holdStateFolder(directory);
  const common = join(directory, 'common');
  await makeClosedFolder(common);
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  await sweepStateFolders(directory);
  return { directory, common, isMemory: await isInMemory(directory) };
}
