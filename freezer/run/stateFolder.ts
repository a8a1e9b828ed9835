/**
 * Whose state folder it is. A worker that lives listens on a socket in its folder, so whoever sees the folder can tell,
 * also from another container or PID namespace: there is nothing that a crash could leave looking alive.
 */
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { removeFolder } from './removeFolder.ts';

const SOCKET = 'alive.sock';

/** Makes the folder where needed, and holds it until this process ends. */
export async function holdStateFolder(stateDirectory: string): Promise<void> {
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  await rm(join(stateDirectory, SOCKET), { force: true });
  await using directory = await open(stateDirectory, constants.O_DIRECTORY);
  const server = createServer((socket) => socket.destroy());
  server.unref();
  // Through the descriptor, because a socket's path may have 107 bytes at most and folders can be deep.
  server.listen(join('/proc/self/fd', String(directory.fd), SOCKET));
  await once(server, 'listening');
}

/** Whether its worker is certainly dead. A folder that nobody has ever held, or that cannot be seen from here, is not. */
export async function isAbandoned(stateDirectory: string): Promise<boolean> {
  const directory = await open(stateDirectory, constants.O_DIRECTORY).catch(() => null); // it is gone, or elsewhere
  if (directory === null) return false;
  await using _ = directory;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(join('/proc/self/fd', String(directory.fd), SOCKET));
  socket.once('connect', () => resolve(false));
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  return await promise.finally(() => socket.destroy());
}

/** Removes the folders beside this one whose workers are dead. */
export async function sweepStateFolders(stateDirectory: string): Promise<void> {
  const parent = dirname(stateDirectory);
  for (const name of await readdir(parent)) {
    if (name === basename(stateDirectory) || !(await isAbandoned(join(parent, name)))) continue;
    await removeFolder(join(parent, name));
  }
}
