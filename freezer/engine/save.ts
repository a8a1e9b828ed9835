/** One checkpoint on its way into the store. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readdirSync } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { connect } from 'node:net';
import { arch, availableParallelism, release } from 'node:os';
import { join } from 'node:path';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { controlFiles } from '../agent/protocol.ts';
import { Base } from '../checkpoint/base.ts';
import { BaseMemory, countPages } from '../checkpoint/baseMemory.ts';
import { storeFailed, summarize } from '../checkpoint/catalogue.ts';
import { ChunkWriter } from '../checkpoint/chunkWriter.ts';
import { Codec } from '../checkpoint/codec.ts';
import { EarlyPages } from '../checkpoint/earlyPages.ts';
import { encodeIndex } from '../checkpoint/encodeIndex.ts';
import { attributeReader } from '../checkpoint/extendedAttributes.ts';
import {
  BOUND_VERSION,
  checkpointKeys,
  type FileEntry,
  type Index,
  type Manifest,
  PLAIN_VERSION,
} from '../checkpoint/format.ts';
import { MemoryWriter } from '../checkpoint/memory.ts';
import {
  type CheckpointSource,
  indexContext,
  type OpenedCheckpoint,
  openCheckpoint,
  sourceOf,
} from '../checkpoint/openCheckpoint.ts';
import { keepDigests, newDigestSeed, PageDigests } from '../checkpoint/pageDigests.ts';
import { OPEN_IMAGE, PageImages } from '../checkpoint/pageImages.ts';
import { readContent, saveFiles } from '../checkpoint/saveFiles.ts';
import { headerLayout, PageServer } from '../criu/pageServer.ts';
import { keysToWrite, type WritingKeys } from '../encryption/dataKey.ts';
import { homeOf } from '../encryption/home.ts';
import { signManifest } from '../encryption/manifestMac.ts';
import { seal } from '../encryption/seal.ts';
import { FreezerError } from '../errors.ts';
import type { CheckpointSummary, StepProgress } from '../runtime.ts';
import type { CommitFacts, FollowOrder, FreezeFolders, FreezeOrder } from './protocol.ts';

type Report = (progress: StepProgress) => void;

export class Save implements AsyncDisposable {
  readonly #store: Store;
  readonly #order: FreezeOrder;
  readonly #keys: WritingKeys;
  readonly #base: Base | null;
  readonly #writer: ChunkWriter;
  readonly #memory: MemoryWriter;
  readonly #report: Report;
  /** Of the base's pages; null where they are not known. */
  readonly #before: PageDigests | null;
  readonly #opened = new AsyncDisposableStack();
  #memoryBytes = 0;
  #fileBytes = 0;
  #images: Index['images'] = [];
  #early: EarlyPages | null = null;
  /** Null where memory came as a stream. */
  #pageImages: PageImages | null = null;
  #files: FileEntry[] = [];
  #logSizes = { stdout: 0, stderr: 0 };

  private constructor(
    store: Store,
    order: FreezeOrder,
    { keys, base, report }: { keys: WritingKeys; base: Base | null; report: Report },
  ) {
    this.#store = store;
    this.#order = order;
    this.#keys = keys;
    this.#base = base;
    this.#report = report;
    this.#opened.use(store);
    const before = base && PageDigests.open(order.digestsDirectory, base.id, countPages(base.index));
    this.#before = this.#opened.use(before);
    const digestSeed = before?.seed ?? newDigestSeed();
    this.#writer = new ChunkWriter({
      store,
      prefix: order.place.prefix,
      checkpointId: order.checkpointId,
      codec: new Codec(order.toolboxDirectory),
      base,
      keys: keys.keys,
      digestSeed,
      bufferBytes: order.bufferBytes,
      onSent: (doneBytes) => report({ step: 'sending', doneBytes, totalBytes: null }),
    });
    this.#memory = new MemoryWriter({
      writer: this.#writer,
      base: base && before && new BaseMemory(base, before),
      digestsOf: (pages) => this.#early?.digestsOf(pages) ?? null,
      partsOf: (pages) => this.#early?.partsOf(pages) ?? null,
      digests: this.#opened.use(PageDigests.create(order.digestsDirectory, digestSeed)),
    });
  }

  /**
   * @param expectedBase saves reading the base's index, if it is this
   */
  static async open(order: FreezeOrder, report: Report, expectedBase?: OpenedCheckpoint): Promise<Save> {
    const { place, baseId } = order;
    const store = await openStore(place.storeUrl).catch((error: unknown) => {
      throw storeFailed(error);
    });
    const source = sourceOf(store, place);
    const last = baseId === null ? null : await openLast(source, baseId, expectedBase);
    const keys = await keysToWrite(last?.manifest.encryption ?? null, source.keyRing);
    const base = last && keys.goesOn ? new Base(last.manifest, last.index) : null;
    return new Save(store, order, { keys, base, report });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened[Symbol.asyncDispose]();
  }

  /**
   * Of a base whose pages are not known windows are recognised by their ids, which they have as a whole. And on the only processor the
   * program would stand still for this.
   */
  followImages({ imagesDirectory, mayStore }: FollowOrder): void {
    const isToStore = mayStore && this.#base === null;
    if (!(isToStore || this.#before) || availableParallelism() === 1) return;
    this.#early = this.#opened.use(new EarlyPages(imagesDirectory, this.#writer, { isToStore }));
  }

  async receivePages(controlDirectory: string, criuVersion: [number, number, number]): Promise<{ isWhole: boolean }> {
    // There was no room for images, and what is open keeps what there is.
    await this.#early?.[Symbol.asyncDispose]();
    this.#early = null;
    await using directory = await open(controlDirectory, constants.O_DIRECTORY);
    // Through the descriptor, because a socket's path may have 107 bytes at most and folders can be deep.
    const path = join('/proc/self/fd', String(directory.fd), controlFiles.pages);
    return await this.#receive(path, criuVersion);
  }

  /** Resolves at the end of the stream, whole or not: why CRIU left early is CRIU's to say. */
  #receive(path: string, criuVersion: [number, number, number]): Promise<{ isWhole: boolean }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ isWhole: boolean }>();
    const server = new PageServer(headerLayout(criuVersion), this.#memory, (bytes) => socket.write(bytes));
    const fail = (error: unknown) => {
      reject(error);
      // CRIU would wait for ever to send the rest, with the program stopped.
      socket.destroy();
    };
    const end = () => {
      this.#memoryBytes = server.receivedBytes;
      resolve({ isWhole: server.isClosed });
    };
    const { slabs } = this.#writer;
    const take = (size: number, buffer: Uint8Array): boolean => {
      try {
        slabs.took(size);
        server.feed(Buffer.from(buffer.buffer, buffer.byteOffset, size));
      } catch (error) {
        fail(error);
        return false;
      }
      this.#report({ step: 'dumping', doneBytes: server.receivedBytes, totalBytes: null });
      // CRIU stays connected for as long as it holds the program.
      if (server.isClosed) {
        end();
        // Nothing may follow, and what this would read into is the files' from now on.
        return false;
      }
      if (!this.#writer.isFull) return true;
      this.#writer.ready().then(() => socket.resume(), fail);
      return false;
    };
    // Into the slabs, and nowhere else: copying a stream that is as large as the job would halve the rate.
    const socket = connect({ path, onread: { buffer: () => slabs.space(), callback: take } });
    socket.once('error', fail);
    socket.once('close', end);
    return promise;
  }

  async readFiles(folders: FreezeFolders): Promise<void> {
    const { imagesDirectory, filesDirectory } = folders;
    const { toolboxDirectory } = this.#order;
    const onRead = (bytes: number) => {
      this.#fileBytes += bytes;
      this.#report({ step: 'saving files', doneBytes: this.#fileBytes, totalBytes: null });
    };
    // Before anything else is given to the writer.
    await this.#early?.stop();
    this.#images = await this.#readImages(imagesDirectory);
    if (this.#memoryBytes === 0) {
      this.#pageImages = this.#opened.use(
        await PageImages.open(imagesDirectory, (name) => this.#early?.handleOf(name)),
      );
    }
    const readAttributes = await attributeReader(filesDirectory, toolboxDirectory);
    this.#files = await saveFiles(filesDirectory, { toolboxDirectory, writer: this.#writer, readAttributes, onRead });
    const sizeOf = async (name: string) => (await lstat(join(filesDirectory, 'logs', name))).size;
    this.#logSizes = { stdout: await sizeOf('stdout'), stderr: await sizeOf('stderr') };
  }

  /** With calls that block, as saveFiles.ts does, and for the same reason. */
  async #readImages(directory: string): Promise<Index['images']> {
    const images: Index['images'] = [];
    for (const name of readdirSync(directory).sort()) {
      if (!name.endsWith('.img') || PageImages.has(name)) continue;
      const file = openSync(join(directory, name), OPEN_IMAGE);
      try {
        const { size } = fstatSync(file);
        const pieces = await readContent(file, size, this.#writer, () => undefined);
        images.push({ name, sizeBytes: size, pieces });
      } finally {
        closeSync(file);
      }
    }
    return images;
  }

  async #readPageImages(images: PageImages): Promise<void> {
    this.#memoryBytes = images.sizeBytes;
    await images.read(this.#memory, async () => {
      if (this.#writer.isFull) await this.#writer.ready();
    });
  }

  async commit(facts: CommitFacts): Promise<CheckpointSummary> {
    this.#writer.letGo();
    if (this.#pageImages) await this.#readPageImages(this.#pageImages);
    await this.#writer.allExamined();
    this.#memory.finish();
    const { chunks, packs } = await this.#writer.finish();
    const [index] = await Promise.all([this.#writeIndex(chunks), this.#writer.sent()]);
    const { checkpointId, digestsDirectory, place } = this.#order;
    const manifest: Omit<Manifest, 'encryption' | 'version'> = {
      id: checkpointId,
      ...facts,
      cpuFeatures: [...facts.cpuFeatures],
      kernel: release(),
      architecture: arch(),
      logSizes: this.#logSizes,
      memoryBytes: this.#memoryBytes,
      fileBytes: this.#fileBytes,
      sentBytes: this.#writer.sentBytes + index.sizeBytes,
      base: this.#base?.id ?? null,
      index,
      packs,
    };
    const { keys, wrapped } = this.#keys;
    const signed: Manifest =
      keys && wrapped
        ? signManifest(keys.manifest, { ...this.#bound(manifest), encryption: wrapped }, place.prefix)
        : { version: PLAIN_VERSION, ...manifest, encryption: null };
    await this.#create(checkpointKeys.manifest(checkpointId), Buffer.from(JSON.stringify(signed, null, 1)));
    keepDigests(digestsDirectory, checkpointId);
    return summarize(signed);
  }

  #bound<M>(manifest: M) {
    const home = homeOf(this.#store.url, this.#order.place.name);
    return { version: BOUND_VERSION, home, ...manifest } as const;
  }

  async #writeIndex(chunks: Index['chunks']): Promise<Manifest['index']> {
    const { checkpointId } = this.#order;
    const index: Index = { chunks, memory: this.#memory.objects(), images: this.#images, files: this.#files };
    const compressed = await encodeIndex(index);
    const { keys } = this.#keys;
    const bytes = keys ? seal(keys.encryption, compressed, indexContext(checkpointId)) : compressed;
    const key = checkpointKeys.index(checkpointId);
    await this.#create(key, bytes);
    return { key, sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  async #create(key: string, bytes: Buffer): Promise<void> {
    await this.#store.create(this.#order.place.prefix + key, bytes).catch((error: unknown) => {
      throw storeFailed(error);
    });
  }
}

/** Null where it cannot be used: then everything is sent, which is always right. */
async function openLast(
  source: CheckpointSource,
  id: string,
  expected: OpenedCheckpoint | undefined,
): Promise<OpenedCheckpoint | null> {
  try {
    return await openCheckpoint(source, id, expected);
  } catch (error) {
    if (error instanceof FreezerError && NOT_USABLE.includes(error.code)) return null;
    throw error;
  }
}

const NOT_USABLE: FreezerError['code'][] = [
  'notFound',
  'corrupt',
  'wrongVersion',
  'wrongKey',
  'substituted',
  'otherStore',
];
