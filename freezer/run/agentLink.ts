/** The worker's end of the connection to an agent. */
import { once } from 'node:events';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type AgentMethods, controlFiles, type WorkerMethods } from '../agent/protocol.ts';
import { Peer, socketTransport } from '../rpc.ts';

export type Agent = Peer<AgentMethods, WorkerMethods>;

/**
 * Listens in the control folder, lets `launch` start the container, and resolves when its agent has connected.
 * Rejects with what `launch`'s `failed` rejects with when the container ends before that.
 */
export async function awaitAgent(
  controlDirectory: string,
  methods: WorkerMethods,
  launch: () => { failed: Promise<never> },
): Promise<Agent> {
  await using directory = await open(controlDirectory, constants.O_DIRECTORY);
  const server = createServer();
  try {
    // Through the descriptor, because a socket's path may have 107 bytes at most and folders can be deep.
    server.listen(join('/proc/self/fd', String(directory.fd), controlFiles.worker));
    await once(server, 'listening');
    const connected = once(server, 'connection');
    const [socket] = (await Promise.race([connected, launch().failed])) as [Socket];
    return new Peer<AgentMethods, WorkerMethods>(socketTransport(socket), methods, 'container', 'lost');
  } finally {
    server.close();
  }
}
