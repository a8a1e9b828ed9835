/**
 * What the agents of one worker leave for those that come after them, in a folder that all their containers have and no job can
 * enter. It ends with the worker: nothing in it is older than the machine's last start.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, rename } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { places } from './protocol.ts';

/** Copies what was kept by this name to a file. False where nothing was. */
export async function takeCommon(name: string, file: string): Promise<boolean> {
  try {
    await copyFile(join(places.common, name), file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Keeps a file by this name, whole whenever another agent looks. */
export async function keepCommon(name: string, file: string): Promise<void> {
  const unfinished = join(places.common, `${name}.${randomUUID()}`);
  await copyFile(file, unfinished);
  await rename(unfinished, join(places.common, name));
}

/** Node does it when it ends, which most agents do by SIGKILL. To be called when the code has run and nobody waits. */
export function keepCode(): void {
  setImmediate(flushCompileCache);
}
