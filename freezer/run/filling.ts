/** What is still under way when a program has been thawed lazily: the rest of its memory. */
import type { Engine } from '../engine/client.ts';
import { cancelled, FreezerError } from '../errors.ts';
import type { StepProgress } from '../runtime.ts';

type Listener = (progress: StepProgress) => void;

/** Disposing ends the engine. The container must be gone by then, or have all its memory. */
export class Filling implements AsyncDisposable {
  /**
   * Resolves when the program has all its memory, by the word of both CRIU and the engine. Rejects when it never will, with the
   * reason; the container must end then, if it has not.
   */
  readonly done: Promise<void>;
  readonly #engine: Engine;
  readonly #listeners: Set<Listener>;

  constructor(work: Promise<unknown>, engine: Engine, listeners: Set<Listener>) {
    this.#engine = engine;
    this.#listeners = listeners;
    this.done = work.then(() => this[Symbol.asyncDispose]());
    this.done.catch(() => undefined); // told by the run's end, and to those who wait
  }

  /** Rejects with `FreezerError`: `cancelled` as soon as the signal aborts, `lost` when the program never has all its memory. */
  async wait({
    signal,
    onProgress,
  }: {
    signal?: AbortSignal | undefined;
    onProgress?: Listener | undefined;
  }): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(cancelled(signal?.reason));
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    if (onProgress) this.#listeners.add(onProgress);
    const done = this.done.catch((cause: unknown) => {
      throw new FreezerError('lost', cannotBeFilled(cause), 'Floe thaws it again.', { cause });
    });
    try {
      await Promise.race([done, aborted.promise]);
    } finally {
      if (onProgress) this.#listeners.delete(onProgress);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
  }
}

/** Why a run was lost. */
export function cannotBeFilled(cause: unknown): string {
  return `The job's memory could not be brought: ${cause instanceof Error ? cause.message : String(cause)}`;
}
