/** Whether a program's memory, as CRIU's images, fits where images are kept. */
import { readFile, statfs } from 'node:fs/promises';
import { FreezerError } from '../errors.ts';
import { isInMemory } from './imagesPlace.ts';

/** Whether `sizeBytes` of images fit in the folder now. On a tmpfs the machine must have that much memory to give, too. */
export async function roomForImages(directory: string, sizeBytes: number): Promise<boolean> {
  return sizeBytes <= (await freeBytes(directory));
}

let promisedBytes = 0;

/**
 * As above, and keeps others of this process from counting on the same room until it is disposed of: once images are written
 * they count by themselves. Null where they do not fit.
 */
export async function promiseRoomForImages(directory: string, sizeBytes: number): Promise<Disposable | null> {
  promisedBytes += sizeBytes;
  const giveBack = () => {
    promisedBytes -= sizeBytes;
  };
  try {
    if (await roomForImages(directory, promisedBytes)) return { [Symbol.dispose]: giveBack };
  } catch (error) {
    giveBack();
    throw error;
  }
  giveBack();
  return null;
}

/**
 * Throws `FreezerError` `diskFull` where they do not fit: not the checkpoint's fault, and another machine, or this one later,
 * may have the room.
 */
export async function requireRoomForImages(directory: string, sizeBytes: number): Promise<void> {
  const free = await freeBytes(directory);
  if (sizeBytes <= free) return;
  throw new FreezerError(
    'diskFull',
    `The job's memory of ${mebibytes(sizeBytes)} MiB does not fit in ${directory}, which has room for ${mebibytes(free)} MiB.`,
    'Thaw fewer jobs at a time, or on a machine with more memory; or name a larger place in `worker.imagesDir` (FLOE_IMAGES_DIR).',
  );
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  return (await isInMemory(directory)) ? Math.min(free, await availableMemory()) : free;
}

/** What the kernel can give without swapping: `MemAvailable` of proc_meminfo(5), or what this process's control group leaves of it. */
async function availableMemory(): Promise<number> {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1];
  const ofMachine = kibibytes === undefined ? Number.POSITIVE_INFINITY : Number(kibibytes) * 1024;
  return Math.min(ofMachine, process.availableMemory());
}

function mebibytes(bytes: number): number {
  return Math.floor(bytes / 2 ** 20);
}
