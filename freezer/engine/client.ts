/** Starts an engine process and talks to it. Disposing ends it, whatever it is doing. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cancelled, FreezerError } from '../errors.ts';
import { channelTransport, Peer } from '../rpc.ts';
import type { StepProgress } from '../runtime.ts';
import { siblingModule } from '../siblingModule.ts';
import type { EngineEvents, EngineMethods } from './protocol.ts';

export interface EngineOptions {
  readonly onProgress?: ((progress: StepProgress) => void) | undefined;
  /** Ends the process: what it was asked for then rejects with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
}

export class Engine implements AsyncDisposable {
  readonly peer: Peer<EngineMethods, EngineEvents>;
  readonly #process: ChildProcess;
  readonly #gone: Promise<void>;
  #onProgress: ((progress: StepProgress) => void) | undefined;
  #signal: AbortSignal | undefined;
  #isGone = false;
  readonly #onAbort = () => void this.#process.kill('SIGKILL');

  /** It is nobody's yet, and keeps nobody from ending: see `assign`. Throws `FreezerError` `failed` where no process can be started. */
  constructor() {
    this.#process = startProcess();
    this.#gone = new Promise((resolve) => {
      this.#process.once('exit', () => {
        this.#isGone = true;
        resolve();
      });
      // It could not be started. Its channel never was, and nobody else would say so to those who wait for an answer.
      this.#process.once('error', () => {
        this.#isGone = true;
        this.peer.close();
        resolve();
      });
    });
    const progress = (of: StepProgress) => this.#onProgress?.(of);
    this.peer = new Peer(channelTransport(this.#process), { progress }, 'checkpoint engine', 'failed');
    this.#process.unref();
    this.#process.channel?.unref();
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Whose it is, and for what, for the rest of its life. */
  assign({ onProgress, signal }: EngineOptions): void {
    this.#process.ref();
    this.#process.channel?.ref();
    this.#onProgress = onProgress;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) this.#onAbort();
  }

  /** From now on the signal means nothing to it: what it was for is over. */
  outlive(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  /** The error to report: `cancelled` when that is why the engine is gone. */
  explain(error: unknown): unknown {
    if (!this.#signal?.aborted) return error;
    return cancelled(error);
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

/**
 * What an engine works with are buffers outside of V8's heap, for which that collects all garbage whenever they have grown by a few MiB,
 * though nearly nothing is: half the processor time of a thaw's main thread. These let it wait for 64 MiB. V8 has had them since Node 24.
 */
const COLLECT_SELDOM = ['--external-memory-accounted-in-global-limit', '--no-memory-reducer', '--initial-heap-size=64'];

function startProcess(): ChildProcess {
  try {
    // A group of its own keeps a Ctrl-C at the worker's terminal from ending a checkpoint half-way.
    return fork(fileURLToPath(siblingModule(import.meta.url, 'main')), {
      serialization: 'advanced',
      detached: true,
      execArgv: COLLECT_SELDOM,
      // Four of them are the codec's at most (checkpoint/codec.ts), and files want theirs meanwhile.
      env: { ...process.env, UV_THREADPOOL_SIZE: '8' },
    });
  } catch (cause) {
    const remedy = 'See that the machine has memory for another process.';
    throw new FreezerError('failed', `The checkpoint engine cannot be started: ${cause}`, remedy, { cause });
  }
}
