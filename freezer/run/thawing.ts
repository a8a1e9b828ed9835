/**
 * A checkpoint on its way into a container: fetched by an engine, restored by the agent, and for a lazy thaw filled by both.
 * The container is launched while the content of its files is still on its way.
 */
import type { Engine } from '../engine/client.ts';
import type { Expected, Found } from '../engine/protocol.ts';
import { keepSpareEngine, takeEngine } from '../engine/spare.ts';
import { FreezerError } from '../errors.ts';
import type { StepProgress, ThawOptions } from '../runtime.ts';
import type { Container } from './containerRun.ts';
import { Filling } from './filling.ts';
import type { RunFolder } from './folder.ts';

type Listeners = Set<(progress: StepProgress) => void>;

/** Disposing ends the engine; not to be done while a program waits for its memory. */
export class Thawing implements AsyncDisposable {
  /**
   * Resolves when the run's folder has all that is mounted, and goes on to fill that. Rejects with `FreezerError` where the checkpoint
   * cannot be opened.
   */
  readonly found: Promise<Found>;
  readonly #engine: Engine;
  readonly #fetching: Promise<void>;
  readonly #listeners: Listeners;
  /** The checkpoint: what the program has when it is frozen next is most likely this. */
  readonly #base: Expected['base'];

  /** Throws as `new Engine` does. */
  constructor(folder: RunFolder, thaw: ThawOptions, toolboxDirectory: string) {
    const { place, checkpointId, known, mode = 'auto', signal } = thaw;
    const listeners: Listeners = new Set(thaw.onProgress ? [thaw.onProgress] : []);
    const onProgress = (progress: StepProgress) => {
      for (const listener of listeners) listener(progress);
    };
    this.#engine = takeEngine(place.storeUrl, { onProgress, signal });
    this.#listeners = listeners;
    this.#base = { place, id: checkpointId };
    const order = {
      ...{ place, checkpointId, known, mode, toolboxDirectory },
      imagesDirectory: folder.images,
      filesDirectory: folder.files,
      digestsDirectory: folder.digests,
    };
    this.found = this.#answer(this.#engine.ask('prepareThaw', order));
    this.#fetching = this.found.then((found) => this.#fetch(found));
    this.#fetching.catch(() => undefined); // told by `found` and `fetched`
  }

  /** Resolves when the job's files, and CRIU's images, are all there and verified. Rejects with `FreezerError` when they never are. */
  async fetched(): Promise<void> {
    await this.#fetching;
    for (const listener of this.#listeners) listener({ step: 'restoring', doneBytes: 0, totalBytes: null });
  }

  /**
   * After `fetched`. Resolves when the program runs; what is given then brings the rest of its memory, and has the engine. Null where
   * there is no rest.
   */
  async restore({ agent, folder }: Container): Promise<Filling | null> {
    const { rootPid, isLazy } = await this.found;
    if (!isLazy) {
      await agent.request('restore', { rootPid, isLazy });
      void keepSpareEngine({ base: this.#base });
      return null;
    }
    await agent.request('listenForPages', {});
    const brought = this.#engine.peer.request('fill', { controlDirectory: folder.control });
    brought.catch(() => agent.notify('abandonPages', {}));
    const restored = agent.request('restore', { rootPid, isLazy });
    await Promise.race([
      restored,
      brought.then(
        () => restored,
        (error: unknown) => causeOf(error, restored),
      ),
    ]);
    this.#engine.outlive();
    void keepSpareEngine({ base: this.#base });
    return new Filling(Promise.all([brought, agent.request('filled', {})]), this.#engine, this.#listeners);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
  }

  async #fetch({ isLazy }: Found): Promise<void> {
    await this.#answer(this.#engine.ask('fetch', {}));
    if (!isLazy) await this[Symbol.asyncDispose]();
  }

  /** What the engine says. One that has failed is not wanted any more, and gone when this rejects. */
  async #answer<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw this.#engine.explain(error);
    }
  }
}

/**
 * When the engine gave up that is the cause, and CRIU's failure what followed from it. Where CRIU left the engine it is the other way
 * round: why is then told by `restored`, which may take longer to come.
 */
async function causeOf(error: unknown, restored: Promise<void>): Promise<void> {
  if (error instanceof FreezerError && error.code === 'lost') return await restored;
  throw error;
}
