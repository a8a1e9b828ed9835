/**
 * Listeners that no job may reach: on the machine's addresses, at a cloud's metadata address, and under UNIX names. Whoever
 * connects is given a secret, and is remembered.
 */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { execa } from 'execa';
import type { Tokens } from './tokens.ts';

/** Where ECS gives tasks their credentials: no worker of another test asks there for notices. */
const METADATA = '169.254.170.2';

export class CanarySockets implements AsyncDisposable {
  readonly metadataUrl = `http://${METADATA}/v2/credentials`;
  readonly path: string;
  readonly abstractName: string;
  loopbackPort = 0;
  anyPort = 0;
  /** This machine's own, as a neighbour on its network sees them. */
  readonly hostAddresses: readonly string[];
  readonly #connections: string[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #stack = new AsyncDisposableStack();

  private constructor(id: string) {
    this.path = `/run/floe-hostile-${id}.sock`;
    this.abstractName = `floe-hostile-${id}`;
    this.hostAddresses = Object.values(networkInterfaces()).flatMap((each) =>
      (each ?? []).filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address),
    );
  }

  static async open(id: string, tokens: Tokens): Promise<CanarySockets> {
    const sockets = new CanarySockets(id);
    try {
      const answer = (name: string) => sockets.#listener(name, tokens.make(name));
      await sockets.#listen(answer(sockets.path), { path: sockets.path });
      sockets.#stack.defer(() => rm(sockets.path, { force: true }));
      await sockets.#listen(answer('an abstract socket'), { path: `\0${sockets.abstractName}` });
      const loopback = await sockets.#listen(answer('127.0.0.1'), { host: '127.0.0.1', port: 0 });
      const any = await sockets.#listen(answer('0.0.0.0'), { host: '0.0.0.0', port: 0 });
      sockets.loopbackPort = portOf(loopback);
      sockets.anyPort = portOf(any);
      await sockets.#addMetadataAddress();
      await sockets.#listen(answer('the metadata endpoint'), { host: METADATA, port: 80 });
      return sockets;
    } catch (error) {
      await sockets[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Who connected, in words. */
  get connections(): readonly string[] {
    return this.#connections;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #listener(name: string, token: string): Server {
    return createServer((socket) => {
      this.#connections.push(`somebody connected to ${name} from ${socket.remoteAddress ?? 'this machine'}`);
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined); // it may be gone before it has its answer
      socket.end(`HTTP/1.0 200 OK\r\n\r\n${token}\n`);
    });
  }

  async #listen(server: Server, where: ListenOptions): Promise<Server> {
    server.listen(where);
    await once(server, 'listening');
    this.#stack.defer(async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of this.#sockets) socket.destroy();
      await closed;
    });
    return server;
  }

  async #addMetadataAddress(): Promise<void> {
    const words = ['address', 'add', `${METADATA}/32`, 'dev', 'lo'];
    const { exitCode, stderr } = await execa('ip', words, { reject: false });
    if (exitCode !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
    this.#stack.defer(async () => {
      await execa('ip', ['address', 'delete', `${METADATA}/32`, 'dev', 'lo'], { reject: false });
    });
  }
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
