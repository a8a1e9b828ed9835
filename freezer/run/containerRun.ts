/**
 * A program in a container that has an agent, however the container was made.
 *
 * The order of a freeze, and what a failure at each step leaves behind:
 *
 *   memory filled      a lazy thaw never gets all its memory            → the run is lost, which `ended` tells
 *   preflight          the program holds what CRIU cannot dump      → it never stopped
 *   engine ready       no store, no memory for the engine           → it never stopped
 *   CRIU dumps         CRIU refuses, the engine dies                → CRIU lets the program go on
 *                      no room for its memory after all             → as above, and it is dumped again, as a stream
 *   files are gathered the engine or the disk fails                 → CRIU is told to let it go on
 *   files are read     a file cannot be read, the disk fails        → as above
 *   (`continue`: it is let go on; from here the program runs while the rest is sent)
 *   packs durable      the store refuses, the engine dies           → as above; packs that no manifest names are left
 *   manifest written   somebody else's manifest is there            → as above
 *   (`stop`: the container ends)
 *
 * Before the manifest there is no checkpoint, and those before it are untouched. After it there is one, whatever follows.
 * When the worker dies at any step, its container dies with it.
 */
import { join } from 'node:path';
import type { MemorySize } from '../agent/protocol.ts';
import { checkpointId } from '../checkpoint/format.ts';
import type { Obstacle } from '../criu/obstacles.ts';
import type { Engine } from '../engine/client.ts';
import { keepSpareEngine, takeEngine } from '../engine/spare.ts';
import { FreezerError } from '../errors.ts';
import type { FreezeOptions, Frozen, ProgramEnd, Run } from '../runtime.ts';
import type { Agent } from './agentLink.ts';
import { emptyFolder } from './emptyFolder.ts';
import { cannotBeFilled, type Filling } from './filling.ts';
import { type RunFolder, removeRunFolder } from './folder.ts';
import { isInMemory } from './imagesPlace.ts';
import { orGiveUp } from './orGiveUp.ts';
import { promiseRoomForImages } from './roomForImages.ts';

/**
 * Room for images: this times the program's memory, and so much besides. They stay until they are sent, and whatever else is on
 * the machine, the program included, may grow meanwhile.
 */
const ROOM = { share: 1.25, bytes: 256 * 2 ** 20 };

/**
 * Memory is stored while it is dumped where one process has so much of it. What others have in common with it since a fork they have at the
 * same addresses: to be known as the same, it must be cut at addresses, which nobody knows before the dump is over.
 */
const SHARE_OF_ONE = 0.9;

/** What the runtime knows of the container and the machine. */
export interface ContainerFacts {
  readonly runtime: string;
  readonly image: string | null;
  readonly criuVersion: [number, number, number];
  readonly cpuFeatures: readonly string[];
}

export interface Container {
  readonly facts: ContainerFacts;
  readonly folder: RunFolder;
  /** On this machine, for the engine. */
  readonly toolboxDirectory: string;
  readonly agent: Agent;
  /** Resolves when the container and everything in it is gone, with its last words. */
  readonly gone: Promise<string>;
  /** What all in it may use; undefined where there is no limit. */
  readonly memoryLimitBytes?: number | undefined;
  /** Something that the container has, whatever its program does, and that CRIU does not dump. */
  readonly obstacle?: Obstacle;
  /** Brings into the run's folder what moves with the job and is elsewhere; the program stands still. */
  gatherFiles?(signal: AbortSignal | undefined): Promise<void>;
  /** What the program has written outside of the run's folder. Absent where there is no such place. */
  layerSizeBytes?(signal?: AbortSignal): Promise<number>;
  /** Ends the container, whatever state it is in. */
  kill(): void;
}

/** How the run began. */
interface Beginning {
  /** Sizes of the logs. */
  readonly logStart: { readonly stdout: number; readonly stderr: number };
  /** Id of its checkpoint; null for a program that started from the beginning. */
  readonly thawedFrom: string | null;
  /** Of a program that was thawed lazily. */
  readonly filling?: Filling | null;
}

export class ContainerRun implements Run {
  readonly workspace: string;
  readonly files: string;
  readonly logs: { readonly stdout: string; readonly stderr: string };
  readonly logStart: { readonly stdout: number; readonly stderr: number };
  readonly ended: Promise<ProgramEnd>;
  readonly image: string | null;
  readonly layerSizeBytes?: (signal?: AbortSignal) => Promise<number>;
  readonly #container: Container;
  readonly #end = Promise.withResolvers<ProgramEnd>();
  readonly #filling: Filling | null;
  #freezes = 0;
  #isFreezing = false;
  /** The checkpoint that the program continues, or its last: what that has need not be sent again. */
  #newest: string | null;

  constructor(
    container: Container,
    programEnd: Promise<ProgramEnd>,
    { logStart, thawedFrom, filling = null }: Beginning,
  ) {
    this.#container = container;
    this.#filling = filling;
    this.#newest = thawedFrom;
    this.image = container.facts.image;
    if (container.layerSizeBytes) this.layerSizeBytes = container.layerSizeBytes;
    this.workspace = container.folder.workspace;
    this.files = container.folder.files;
    this.logs = { stdout: join(container.folder.logs, 'stdout'), stderr: join(container.folder.logs, 'stderr') };
    this.logStart = logStart;
    this.ended = this.#end.promise;
    void programEnd.then(this.#end.resolve);
    filling?.done.catch((error: unknown) => {
      this.#end.resolve({ kind: 'lost', reason: cannotBeFilled(error) });
      container.kill();
    });
    void container.gone.then((words) =>
      this.#end.resolve({ kind: 'lost', reason: `The container ended. ${words}`.trim() }),
    );
  }

  async unlinkedBytes(): Promise<number> {
    const { bytes } = await this.#container.agent.request('unlinkedBytes', {});
    return Number.isSafeInteger(bytes) ? bytes : 0;
  }

  signal(signal: number): void {
    this.#container.agent.notify('signal', { signal });
  }

  async freeze(options: FreezeOptions): Promise<Frozen> {
    if (this.#isFreezing)
      throw new FreezerError('cancelled', 'The job is being frozen already.', 'Wait for that checkpoint.');
    this.#isFreezing = true;
    const freezing = this.#freeze(options).finally(() => {
      this.#isFreezing = false;
    });
    return await orGiveUp(freezing, options.signal);
  }

  async #freeze(options: FreezeOptions): Promise<Frozen> {
    const { agent } = this.#container;
    // A dump of memory that is not all there would have holes, and CRIU would not say so.
    await this.#filling?.wait(options);
    const memory = await this.#preflight();
    const engine = takeEngine(options.place.storeUrl, options);
    try {
      const id = checkpointId(options.epoch, ++this.#freezes);
      const { place, bufferBytes } = options;
      const digestsDirectory = this.#container.folder.digests;
      const { toolboxDirectory } = this.#container;
      const order = { place, checkpointId: id, baseId: this.#newest, digestsDirectory, toolboxDirectory, bufferBytes };
      await engine.ask('prepareFreeze', order);
      const frozen = await this.#dumpAndCommit(engine, options, memory);
      if (options.afterwards === 'continue') void keepSpareEngine({ base: { place, id } });
      return frozen;
    } catch (error) {
      // A container that is gone has nothing to resume, and `ended` tells.
      await agent.request('resume', {}).catch(() => undefined);
      throw engine.explain(error);
    } finally {
      engine.end();
    }
  }

  async preflight(): Promise<void> {
    await this.#preflight();
  }

  async #preflight(): Promise<MemorySize> {
    const { agent, obstacle } = this.#container;
    if (obstacle)
      throw new FreezerError('cannotFreeze', `The job cannot be frozen: it has ${obstacle.what}.`, obstacle.remedy);
    await this.#refuseOpenSecrets();
    return await agent.request('preflight', {});
  }

  async #refuseOpenSecrets(): Promise<void> {
    const { agent, folder } = this.#container;
    if (folder.secrets !== null) await agent.request('refuseOpenSecrets', {});
  }

  /**
   * To images where there is room for the memory once more: CRIU then waits for nobody, and the program for CRIU alone. Else as a
   * stream, which goes on no faster than its content is compressed.
   */
  async #dump(engine: Engine, { memoryBytes, largestBytes }: MemorySize): Promise<{ rootPid: number }> {
    const { agent, folder } = this.#container;
    await emptyFolder(folder.images);
    using room = await this.#roomForImages(memoryBytes);
    if (!room) return await this.#dumpAsStream(engine);
    const mayStore = largestBytes >= memoryBytes * SHARE_OF_ONE;
    engine.peer.notify('followImages', { imagesDirectory: folder.images, mayStore });
    try {
      return await agent.request('dump', { isStreamed: false });
    } catch (error) {
      if (!(error instanceof FreezerError && error.code === 'diskFull')) throw error;
      await emptyFolder(folder.images);
      return await this.#dumpAsStream(engine);
    }
  }

  async #dumpAsStream(engine: Engine): Promise<{ rootPid: number }> {
    const { agent, facts, folder } = this.#container;
    await agent.request('listenForPages', {});
    const of = { controlDirectory: folder.control, criuVersion: facts.criuVersion };
    const received = engine.ask('receivePages', of);
    received.catch(() => agent.notify('abandonPages', {}));
    return await bothOf(agent.request('dump', { isStreamed: true }), received);
  }

  /** What the program has now, and gets until it stands still. CRIU is in its container, and so are images to the kernel that counts. */
  async #roomForImages(memoryBytes: number): Promise<Disposable | null> {
    const { folder, memoryLimitBytes = Number.POSITIVE_INFINITY } = this.#container;
    const needed = memoryBytes * ROOM.share + ROOM.bytes;
    if (memoryBytes + needed > memoryLimitBytes || !(await isInMemory(folder.images))) return null;
    return await promiseRoomForImages(folder.images, needed);
  }

  async #dumpAndCommit(engine: Engine, options: FreezeOptions, memory: MemorySize): Promise<Frozen> {
    const { agent, facts, folder } = this.#container;
    const frozenAt = Date.now();
    const stoppedAt = performance.now();
    const { criuVersion } = facts;
    // Images tell nothing while they are written.
    options.onProgress?.({ step: 'dumping', doneBytes: 0, totalBytes: memory.memoryBytes });
    const dumped = await this.#dump(engine, memory);
    // Once more: only what stands still opens nothing.
    await this.#refuseOpenSecrets();
    await this.#container.gatherFiles?.(options.signal);
    await engine.ask('saveFiles', {
      imagesDirectory: folder.images,
      filesDirectory: folder.files,
    });
    if (options.afterwards === 'continue') await agent.request('resume', {});
    const readMs = performance.now() - stoppedAt;
    const checkpoint = await engine.ask('commit', {
      epoch: options.epoch,
      frozenAt,
      criuVersion: criuVersion.join('.'),
      runtime: facts.runtime,
      image: facts.image,
      rootPid: dumped.rootPid,
      cpuFeatures: facts.cpuFeatures,
    });
    this.#newest = checkpoint.id;
    if (options.afterwards === 'continue') return { checkpoint, frozenMs: readMs };
    const frozenMs = performance.now() - stoppedAt;
    this.#end.resolve({ kind: 'lost', reason: 'frozen' });
    await this.kill();
    return { checkpoint, frozenMs };
  }

  async kill(): Promise<void> {
    this.#container.kill();
    await this.#container.gone;
    await this.#filling?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await removeRunFolder(this.#container.folder);
  }
}

/** What the dump gave, once both sides are done. When the engine gave up that is the cause, and CRIU's failure what followed from it. */
async function bothOf<D>(dump: Promise<D>, pages: Promise<{ isWhole: boolean }>): Promise<D> {
  const [dumped, received] = await Promise.allSettled([dump, pages]);
  if (received.status === 'rejected') throw received.reason;
  if (dumped.status === 'rejected') throw dumped.reason;
  if (received.value.isWhole) return dumped.value;
  throw new FreezerError(
    'dumpFailed',
    "CRIU's page stream ended early.",
    "See the worker's log for CRIU's last words.",
  );
}
