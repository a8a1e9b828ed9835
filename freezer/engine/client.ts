/** Starts an engine process and talks to it. Disposing ends it, whatever it is doing. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cancelled, FreezerError } from '../errors.ts';
import { channelTransport, type Params, Peer, type Result } from '../rpc.ts';
import type { StepProgress } from '../runtime.ts';
import { siblingModule } from '../siblingModule.ts';
import type { EngineEvents, EngineMethods } from './protocol.ts';

export interface EngineOptions {
  readonly onProgress?: ((progress: StepProgress) => void) | undefined;
  /** Ends the process: what it was asked for then rejects with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the process that says nothing for so long while it is asked for something: that then rejects with `failed`. Default 10 minutes. */
  readonly stallTimeoutMs?: number | undefined;
}

/** Time enough to read and compare 100 GiB on a slow disk, of which nothing is reported when nothing has changed. */
const STALL_TIMEOUT_MS = 600_000;

export class Engine implements AsyncDisposable {
  readonly peer: Peer<EngineMethods, EngineEvents>;
  readonly #process: ChildProcess;
  readonly #gone: Promise<void>;
  #onProgress: ((progress: StepProgress) => void) | undefined;
  #signal: AbortSignal | undefined;
  #stallTimeoutMs = STALL_TIMEOUT_MS;
  /** One for each question that it owes an answer to. */
  readonly #stallTimers = new Set<NodeJS.Timeout>();
  #isGone = false;
  #isStalled = false;
  #isOutOfMemory = false;
  readonly #onAbort = () => void this.#process.kill('SIGKILL');

  /** It is nobody's yet, and keeps nobody from ending: see `assign`. Throws `FreezerError` `failed` where no process can be started. */
  constructor() {
    this.#process = startProcess();
    this.#gone = new Promise((resolve) => {
      this.#process.once('exit', (_, signal) => {
        this.#isGone = true;
        // V8 aborts when its heap is full; nothing else here does.
        this.#isOutOfMemory = signal === 'SIGABRT';
        resolve();
      });
      // It could not be started. Its channel never was, and nobody else would say so to those who wait for an answer.
      this.#process.once('error', () => {
        this.#isGone = true;
        this.peer.close();
        resolve();
      });
    });
    const progress = (of: StepProgress) => {
      for (const timer of this.#stallTimers) timer.refresh();
      this.#onProgress?.(of);
    };
    this.peer = new Peer(channelTransport(this.#process), { progress }, 'checkpoint engine', 'failed');
    this.#process.unref();
    this.#process.channel?.unref();
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Whose it is, and for what, for the rest of its life. */
  assign({ onProgress, signal, stallTimeoutMs = STALL_TIMEOUT_MS }: EngineOptions): void {
    this.#process.ref();
    this.#process.channel?.ref();
    this.#onProgress = onProgress;
    this.#stallTimeoutMs = stallTimeoutMs;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) this.#onAbort();
  }

  /**
   * As `peer.request`, for work that is over soon or is reported on. Whatever holds an engine up, a program that stands still for its
   * sake must not stand still for ever.
   */
  async ask<M extends keyof EngineMethods>(
    method: M,
    params: Params<EngineMethods[M]>,
  ): Promise<Result<EngineMethods[M]>> {
    const timer = setTimeout(() => {
      this.#isStalled = true;
      this.#process.kill('SIGKILL');
    }, this.#stallTimeoutMs);
    this.#stallTimers.add(timer);
    try {
      return await this.peer.request(method, params);
    } finally {
      clearTimeout(timer);
      this.#stallTimers.delete(timer);
    }
  }

  /** From now on the signal means nothing to it: what it was for is over. */
  outlive(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  /** The error to report: why the engine is gone, where this is what ended it. */
  explain(error: unknown): unknown {
    if (this.#signal?.aborted) return cancelled(error);
    if (this.#isOutOfMemory) return outOfMemory(error);
    return this.#isStalled ? stalled(this.#stallTimeoutMs, error) : error;
  }

  /** As disposing does, but nobody waits until the kernel has taken back what it had: with images in memory that takes long. */
  end(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#process.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
    await this.#gone;
  }
}

function stalled(afterMs: number, cause: unknown): FreezerError {
  const what = `The checkpoint engine made no progress for ${afterMs / 1000} s, and was ended.`;
  const remedy = "Try again. If it happens again, see the worker's log and the machine's disks.";
  return new FreezerError('failed', what, remedy, { cause });
}

/** One job's freeze or thaw, and nobody else's: its program runs on, or is thawed later. */
function outOfMemory(cause: unknown): FreezerError {
  const what = `The checkpoint engine needed more than ${HEAP_MIB} MiB for the list of the job's files, and was ended.`;
  return new FreezerError('failed', what, 'Let the program have fewer files.', { cause });
}

/** For the index of two million files and what it is compared with. Content is in buffers outside of V8's heap, and does not count. */
const HEAP_MIB = 4096;

/**
 * What an engine works with are buffers outside of V8's heap, for which that collects all garbage whenever they have grown by a few MiB,
 * though nearly nothing is: half the processor time of a thaw's main thread. These let it wait for 64 MiB. V8 has had them since Node 24.
 */
const COLLECT_SELDOM = ['--external-memory-accounted-in-global-limit', '--no-memory-reducer', '--initial-heap-size=64'];
/**
 * In MiB. What comes from the network is garbage as soon as it is decoded: a small space for the young is looked through often, which lets go
 * of such buffers early. 4 GiB that do not compress, filled lazily from S3: 457 MB at most, and 553 MB with V8's own 16.
 */
const COLLECT_THE_YOUNG_OFTEN = '--max-semi-space-size=2';

function startProcess(): ChildProcess {
  try {
    // A group of its own keeps a Ctrl-C at the worker's terminal from ending a checkpoint half-way.
    return fork(fileURLToPath(siblingModule(import.meta.url, 'main')), {
      serialization: 'advanced',
      detached: true,
      execArgv: [...COLLECT_SELDOM, COLLECT_THE_YOUNG_OFTEN, `--max-old-space-size=${HEAP_MIB}`],
      // Four of them are the codec's at most (checkpoint/codec.ts), and files want theirs meanwhile.
      env: { ...process.env, UV_THREADPOOL_SIZE: '8' },
    });
  } catch (cause) {
    const remedy = 'See that the machine has memory for another process.';
    throw new FreezerError('failed', `The checkpoint engine cannot be started: ${cause}`, remedy, { cause });
  }
}
