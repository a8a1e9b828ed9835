/**
 * Requests, answers and notices between the processes of one run: worker ⇄ agent over a UNIX socket, worker ⇄ engine over
 * Node's own channel. Needs nothing but Node, because the agent runs where nothing else is.
 */
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { FreezerError, type FreezerErrorCode } from './errors.ts';

type Message =
  | { id: number; method: string; params: unknown }
  | { id: number; result: unknown }
  | { id: number; error: { code: FreezerErrorCode; message: string; remedy: string } }
  | { method: string; params: unknown };

/** The methods that one side offers; each takes one object. */
export type Methods<T> = { [M in keyof T]: (params: never) => unknown };
export type Params<F> = F extends (params: infer P) => unknown ? P : never;
export type Result<F> = F extends (params: never) => infer R ? Awaited<R> : never;

export interface Transport {
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  onClose(listener: () => void): void;
  close(): void;
}

/**
 * One end of a conversation. `Remote` is what the other side offers, `Local` what this one does. For errors: `name` is the
 * other side's, `goneCode` says what it means that it went away.
 */
export class Peer<Remote extends Methods<Remote>, Local extends Methods<Local>> {
  readonly #transport: Transport;
  readonly #name: string;
  readonly #goneCode: FreezerErrorCode;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #ended = Promise.withResolvers<void>();
  #lastId = 0;
  #isClosed = false;

  constructor(transport: Transport, local: Local, name: string, goneCode: FreezerErrorCode) {
    this.#transport = transport;
    this.#name = name;
    this.#goneCode = goneCode;
    transport.onMessage((message) => {
      // What is of no such form comes from nobody who could be talked to.
      if (isMessage(message)) this.#receive(message, local);
      else this.close();
    });
    transport.onClose(() => this.#end());
  }

  /** Resolves when the other side is gone. */
  get closed(): Promise<void> {
    return this.#ended.promise;
  }

  /** Rejects with the `FreezerError` that the other side threw, or one of the code `goneCode` when it went away. */
  request<M extends keyof Remote & string>(method: M, params: Params<Remote[M]>): Promise<Result<Remote[M]>> {
    if (this.#isClosed) return Promise.reject(gone(this.#name, this.#goneCode));
    const id = ++this.#lastId;
    const waiting = Promise.withResolvers<unknown>();
    this.#pending.set(id, waiting);
    this.#transport.send({ id, method, params });
    return waiting.promise as Promise<Result<Remote[M]>>;
  }

  /** Says something that needs no answer; silently dropped when the other side is gone, as `closed` tells that. */
  notify<M extends keyof Remote & string>(method: M, params: Params<Remote[M]>): void {
    if (!this.#isClosed) this.#transport.send({ method, params });
  }

  close(): void {
    this.#transport.close();
    // A channel that never was, for want of descriptors, does not tell its end.
    this.#end();
  }

  #end(): void {
    this.#isClosed = true;
    for (const waiting of this.#pending.values()) waiting.reject(gone(this.#name, this.#goneCode));
    this.#pending.clear();
    this.#ended.resolve();
  }

  #receive(message: Message, local: Local): void {
    if ('method' in message) {
      void this.#answer(message, local);
      return;
    }
    const waiting = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if ('error' in message) {
      const { code, message: text, remedy } = message.error;
      waiting?.reject(new FreezerError(code, text, remedy));
    } else {
      waiting?.resolve(message.result);
    }
  }

  async #answer(message: { id?: number; method: string; params: unknown }, local: Local): Promise<void> {
    const respond = (body: object) => {
      if (message.id !== undefined && !this.#isClosed) this.#transport.send({ id: message.id, ...body });
    };
    try {
      if (!Object.hasOwn(local, message.method)) throw new Error(`there is no method ${message.method}`);
      const method = local[message.method as keyof Local] as unknown as (params: unknown) => unknown;
      respond({ result: await method(message.params) });
    } catch (error) {
      respond({ error: describe(error) });
    }
  }
}

function isMessage(value: unknown): value is Message {
  if (typeof value !== 'object' || value === null) return false;
  if ('method' in value) return typeof value.method === 'string';
  if (!('id' in value && typeof value.id === 'number')) return false;
  return 'error' in value ? typeof value.error === 'object' && value.error !== null : true;
}

function describe(error: unknown): { code: FreezerErrorCode; message: string; remedy: string } {
  if (error instanceof FreezerError) return { code: error.code, message: error.message, remedy: error.remedy };
  const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
  if (isFull)
    return {
      code: 'diskFull',
      message: `The disk is full: ${error.message}`,
      remedy: 'Free space in the state folder.',
    };
  return {
    code: 'failed',
    message: error instanceof Error ? error.message : String(error),
    remedy: 'See the log of the worker.',
  };
}

function gone(name: string, code: FreezerErrorCode): FreezerError {
  return new FreezerError(code, `The ${name} went away.`, 'See the log of the worker for its last words.');
}

/** Of a message: the longest that there are name every file that a job changed in its image. */
const LONGEST_LINE_BYTES = 64 * 2 ** 20;

/** One JSON object a line. A line that is none, or has no end, ends the connection. */
export function socketTransport(socket: Socket): Transport {
  let unendedBytes = 0;
  socket.on('data', (chunk: Buffer) => {
    const end = chunk.lastIndexOf(0x0a);
    unendedBytes = end < 0 ? unendedBytes + chunk.length : chunk.length - end - 1;
    if (unendedBytes > LONGEST_LINE_BYTES) socket.destroy();
  });
  // A broken connection is reported by `close`, which always follows.
  socket.on('error', () => undefined);
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY });
  lines.on('error', () => undefined); // readline passes the socket's on, and nobody listening would end the process
  return {
    send: (message) => void socket.write(`${JSON.stringify(message)}\n`),
    onMessage: (listener) => void lines.on('line', (line) => listener(parseLine(line))),
    onClose: (listener) => void socket.once('close', listener),
    close: () => socket.destroy(),
  };
}

/** Undefined, which is no message, for what is no JSON. */
function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Node's channel to a forked process, or from one to its parent. */
export function channelTransport(process: ChildProcess | NodeJS.Process): Transport {
  return {
    // Failure to send means that the other side is gone, which `disconnect` reports.
    send: (message) => void process.send?.(message as object, undefined, undefined, () => undefined),
    onMessage: (listener) => void process.on('message', listener),
    onClose: (listener) => void process.once('disconnect', listener),
    close: () => process.disconnect?.(),
  };
}
