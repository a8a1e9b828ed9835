/** A checkpoint on its way into a container: fetched by an engine, restored by the agent, and for a lazy thaw filled by both. */
import type { Engine } from '../engine/client.ts';
import type { Fetched } from '../engine/protocol.ts';
import { keepSpareEngine, takeEngine } from '../engine/spare.ts';
import type { StepProgress, ThawOptions } from '../runtime.ts';
import type { Container } from './containerRun.ts';
import { Filling } from './filling.ts';
import type { RunFolder } from './folder.ts';

/** Disposing ends the engine; not to be done while a program waits for its memory. */
export class Thawing implements AsyncDisposable {
  readonly fetched: Fetched;
  readonly #engine: Engine;
  readonly #listeners: Set<(progress: StepProgress) => void>;

  private constructor(fetched: Fetched, engine: Engine, listeners: Set<(progress: StepProgress) => void>) {
    this.fetched = fetched;
    this.#engine = engine;
    this.#listeners = listeners;
  }

  /** Verifies a checkpoint while it fills the run's folder with the job's files and CRIU's images. */
  static async fetch(folder: RunFolder, thaw: ThawOptions, toolboxDirectory: string): Promise<Thawing> {
    const listeners = new Set(thaw.onProgress ? [thaw.onProgress] : []);
    const onProgress = (progress: StepProgress) => {
      for (const listener of listeners) listener(progress);
    };
    const engine = takeEngine(thaw.place.storeUrl, { onProgress, signal: thaw.signal });
    try {
      const { place, checkpointId, mode = 'auto' } = thaw;
      const fetched = await engine.peer.request('fetch', {
        ...{ place, checkpointId, mode, toolboxDirectory },
        imagesDirectory: folder.images,
        filesDirectory: folder.files,
        digestsDirectory: folder.digests,
      });
      if (!fetched.isLazy) await engine[Symbol.asyncDispose]();
      return new Thawing(fetched, engine, listeners);
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw engine.explain(error);
    }
  }

  /** Resolves when the program runs; what is given then brings the rest of its memory, and has the engine. Null where there is no rest. */
  async restore({ agent, folder, facts }: Container): Promise<Filling | null> {
    const { rootPid, isLazy } = this.fetched;
    if (!isLazy) {
      await agent.request('restore', { rootPid, isLazy });
      keepSpareEngine();
      return null;
    }
    await agent.request('listenForPages', {});
    const { control: controlDirectory } = folder;
    const brought = this.#engine.peer.request('fill', { controlDirectory, criuVersion: facts.criuVersion });
    brought.catch(() => agent.notify('abandonPages', {}));
    const restored = agent.request('restore', { rootPid, isLazy });
    // When the engine gave up that is the cause, and CRIU's failure what followed from it.
    await Promise.race([restored, brought.then(() => restored)]);
    this.#engine.outlive();
    keepSpareEngine();
    return new Filling(Promise.all([brought, agent.request('filled', {})]), this.#engine, this.#listeners);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
  }
}
