/** Where the engine connects, once, to take CRIU's page stream. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { FreezerError } from '../errors.ts';

export class PageListener {
  /** Rejects with `FreezerError` `failed` when the listener is closed before anybody came. */
  readonly connection: Promise<Socket>;
  readonly #server: Server;
  #socket: Socket | undefined;

  private constructor(server: Server) {
    this.#server = server;
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    this.connection = promise;
    // Whoever waits for the connection sees this; nobody may be waiting yet.
    promise.catch(() => undefined);
    server.once('connection', (socket) => {
      this.#socket = socket;
      resolve(socket);
    });
    server.once('close', () =>
      reject(new FreezerError('failed', 'The checkpoint engine did not connect.', 'See the log of the worker.')),
    );
  }

  static async open(path: string): Promise<PageListener> {
    await rm(path, { force: true });
    // Paused: every byte of the stream is CRIU's to read and write.
    const server = createServer({ pauseOnConnect: true });
    server.listen(path);
    await once(server, 'listening');
    return new PageListener(server);
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }
}
