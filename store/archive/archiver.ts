/**
 * Starts an archiver (main.ts) and talks to it. Whatever becomes of that process is an error of this one piece of work: it has listeners for
 * its whole life, what it says is bounded and parsed, and disposing kills it, whatever it is doing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, extname, join } from 'node:path';
import type { Duplex, Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { StoreError, type StoreErrorCode } from '../store.ts';
import { CONFINED_ENVIRONMENT, confinedCommand } from './confinedCommand.ts';
import type { Message, Order, Summary } from './order.ts';

const CODE_FOLDER = dirname(fileURLToPath(import.meta.url));
const MAIN = join(CODE_FOLDER, `main${extname(fileURLToPath(import.meta.url))}`);
/** Of V8, for names and numbers of a million files; buffers and threads come on top. */
const HEAP_MIB = 512;
const MEMORY_BYTES = 2 * 1024 ** 3;
/** One for each folder on the way to a file, and a few. */
const OPEN_FILES = 4096;
/** What the last message may have: numbers of all patterns, and names of twenty files. */
const LONGEST_MESSAGE = 1024 * 1024;
const LONGEST_COMPLAINT = 2000;
/** A process that is in the kernel's hands, as on a network file system that is away, ends when that lets it go. */
const KILL_PATIENCE_MS = 5000;
/** What `confine` exits with when this machine does not let it work. */
const CONFINE_FAILED = 125;
/** How V8 ends a process that has no memory left for it. */
const OUT_OF_MEMORY: readonly NodeJS.Signals[] = ['SIGABRT', 'SIGTRAP', 'SIGILL'];

const AnyMessage: z.ZodType<Message> = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('progress'), bytes: z.int().nonnegative() }),
  z.strictObject({
    type: z.literal('done'),
    summary: z.strictObject({
      files: z.int().nonnegative(),
      unmatched: z.array(z.int().nonnegative()),
      exceptions: z.strictObject({
        count: z.int().nonnegative(),
        examples: z
          .array(
            z.strictObject({
              path: z.string().max(1000),
              reason: z.enum(['pipe', 'socket', 'device', 'unknown', 'vanished', 'changed']),
            }),
          )
          .max(20),
      }),
    }),
  }),
  z.strictObject({
    type: z.literal('failed'),
    code: z.enum(['notFound', 'denied', 'full', 'damaged', 'invalid', 'tooLarge', 'unreadable', 'failed']),
    message: z.string().max(10_000),
    remedy: z.string().max(1000),
  }),
]);

export interface ArchiverOptions {
  /** Whose `bin/confine` and addon are used; null for none. */
  readonly toolboxDirectory: string | null;
  /** The archiver is ended when it does nothing for so long while it is waited for. */
  readonly stallTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((bytes: number) => void) | undefined;
}

export class Archiver implements AsyncDisposable {
  readonly #order: Order;
  readonly #options: ArchiverOptions;
  readonly #process: ChildProcess;
  readonly #gone = Promise.withResolvers<void>();
  readonly #outcome = Promise.withResolvers<Summary>();
  #complaint = '';
  #stallTimer: NodeJS.Timeout | null = null;
  readonly #onAbort = () => this.#fail(this.#options.signal?.reason);

  /** Begins the work. */
  constructor(order: Order, options: ArchiverOptions) {
    this.#order = order;
    this.#options = options;
    this.#outcome.promise.catch(() => undefined); // it may be nobody's yet
    const [program, ...args] = commandFor(order, options.toolboxDirectory);
    // A group of its own keeps a Ctrl-C at the terminal from ending it before the caller has decided what that means.
    this.#process = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      env: CONFINED_ENVIRONMENT,
      cwd: '/',
      detached: true,
    });
    this.#listen();
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (options.signal?.aborted) this.#onAbort();
  }

  /** The archive that is packed. Ends only when the archiver says that it is whole, and rejects with what went wrong. */
  async *output(): AsyncGenerator<Buffer> {
    const chunks = this.#stream(1)[Symbol.asyncIterator]();
    for (;;) {
      const next = await this.#wait(chunks.next()).catch(async (error: unknown) => {
        await this.summary(); // a stream that broke only says so
        throw error;
      });
      if (next.done) break;
      yield next.value;
    }
    await this.summary();
  }

  /** Gives it a part of the archive that is unpacked. Resolves when it can take more; rejects with what went wrong. */
  async write(chunk: Uint8Array): Promise<void> {
    const input = this.#input();
    if (input.destroyed) await this.summary();
    if (!input.write(chunk)) await this.#wait(Promise.race([once(input, 'drain'), this.#outcome.promise]));
  }

  /** There is no more to unpack. */
  end(): void {
    this.#input().end();
  }

  /** Calls `tell` when it fails, also while nobody waits for it. */
  onFailure(tell: (error: Error) => void): void {
    this.#outcome.promise.catch(tell);
  }

  /** What it did, when it is done. Rejects with `StoreError`, or with the signal's reason. */
  summary(): Promise<Summary> {
    return this.#wait(this.#outcome.promise);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#process.kill('SIGKILL');
    const timer = setTimeout(this.#gone.resolve, KILL_PATIENCE_MS);
    await this.#gone.promise;
    clearTimeout(timer);
    for (const stream of this.#process.stdio) stream?.destroy();
  }

  #stream(descriptor: 1 | 2): Readable {
    return this.#process.stdio[descriptor] as Readable;
  }

  #input(): Writable {
    return this.#process.stdin as Writable;
  }

  #listen(): void {
    const control = this.#process.stdio[3] as Duplex | undefined;
    this.#process.once('error', (cause) => {
      this.#fail(cannotStart(cause));
      this.#gone.resolve();
    });
    this.#process.once('exit', () => this.#gone.resolve());
    this.#process.once('close', (code, signal) => this.#fail(this.#diedOf(code, signal)));
    // Each stream breaks when the process dies; its end tells why.
    for (const stream of this.#process.stdio) stream?.on('error', () => undefined);
    if (!control) return; // it could not be started
    this.#stream(2).on('data', (text: Buffer) => {
      this.#complaint = (this.#complaint + text.toString('utf8')).slice(-LONGEST_COMPLAINT);
    });
    let line = '';
    control.setEncoding('utf8').on('data', (text: string) => {
      const lines = (line + text).split('\n');
      line = lines.pop() as string;
      try {
        if (line.length > LONGEST_MESSAGE) throw new Error('Its message is too long.');
        for (const message of lines) this.#hear(AnyMessage.parse(JSON.parse(message)));
      } catch (cause) {
        this.#fail(this.#broken('failed', 'says what it should not', cause));
      }
    });
    control.write(`${JSON.stringify(this.#order)}\n`);
    if (this.#order.task === 'pack') this.#input().end();
  }

  #hear(message: Message): void {
    this.#stallTimer?.refresh();
    if (message.type === 'progress') this.#options.onProgress?.(message.bytes);
    else if (message.type === 'done') this.#outcome.resolve(message.summary);
    else this.#fail(new StoreError(message.code, `${this.#doing()}: ${message.message}`, message.remedy));
  }

  #fail(error: unknown): void {
    this.#outcome.reject(error);
    this.#process.kill('SIGKILL');
  }

  /** Only what is waited for can be late: a store that is slow is another's affair. */
  async #wait<T>(work: Promise<T>): Promise<T> {
    const { stallTimeoutMs } = this.#options;
    this.#stallTimer = setTimeout(() => this.#fail(this.#stalled()), stallTimeoutMs);
    try {
      return await Promise.race([work, this.#outcome.promise.then(() => work)]);
    } finally {
      clearTimeout(this.#stallTimer);
      this.#stallTimer = null;
    }
  }

  #doing(): string {
    const { task, directory } = this.#order;
    return task === 'pack'
      ? `The folder ${directory} cannot be packed`
      : `Nothing more can be unpacked in ${directory}`;
  }

  #stalled(): StoreError {
    const what = `${this.#doing()}: for ${this.#options.stallTimeoutMs / 1000} s nothing moved.`;
    const remedy = 'See whether the disk or network folder under it answers.';
    return new StoreError(this.#isPacking() ? 'unreadable' : 'failed', what, remedy);
  }

  /** The files are at fault as far as anybody can know: a second try on the same ones would go the same way. */
  #diedOf(code: number | null, signal: NodeJS.Signals | null): StoreError {
    const how = `ended with ${signal ?? code}`;
    if (code === CONFINE_FAILED) return this.#broken('failed', how);
    if (this.#isPacking()) return this.#broken('unreadable', how);
    return this.#broken(signal !== null && OUT_OF_MEMORY.includes(signal) ? 'damaged' : 'failed', how);
  }

  #broken(code: StoreErrorCode, how: string, cause: unknown = this.#complaint.trim() || undefined): StoreError {
    const what = `${this.#doing()}: the process that does it ${how}.`;
    const remedy = 'Give it less to do at a time, and see whether the machine has memory.';
    return new StoreError(code, what, remedy, { cause });
  }

  #isPacking(): boolean {
    return this.#order.task === 'pack';
  }
}

function commandFor(order: Order, toolboxDirectory: string | null): [string, ...string[]] {
  const isPacking = order.task === 'pack';
  const args = [`--max-old-space-size=${HEAP_MIB}`, MAIN];
  return confinedCommand(args, {
    toolboxDirectory,
    execute: isPacking && order.dataRanges !== null ? [order.dataRanges] : [],
    read: [CODE_FOLDER, ...packageFiles(), ...(isPacking ? [order.directory] : [])],
    write: isPacking ? [] : [order.directory],
    capabilities: isPacking ? ['dac_read_search'] : ['dac_override', 'fowner'],
    files: OPEN_FILES,
    memoryBytes: MEMORY_BYTES,
  });
}

/** What tells Node that the code is of modules: in the folders above it, from the sources and from `dist`. */
function packageFiles(): string[] {
  return [1, 2, 3].map((up) => join(CODE_FOLDER, ...Array<string>(up).fill('..'), 'package.json'));
}

function cannotStart(cause: Error): StoreError {
  const what = `The process that packs and unpacks folders cannot be started: ${cause.message}.`;
  return new StoreError('failed', what, 'See that the machine has memory for another process.', { cause });
}
