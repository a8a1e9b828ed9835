/** One checkpoint on its way out of the store. */
import { open } from 'node:fs/promises';
import { arch } from 'node:os';
import { join } from 'node:path';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { storeFailed } from '../checkpoint/catalogue.ts';
import { Codec } from '../checkpoint/codec.ts';
import { DigestFiller } from '../checkpoint/digestFiller.ts';
import { FileFiller } from '../checkpoint/fileFiller.ts';
import type { FileEntry, Index, Manifest } from '../checkpoint/format.ts';
import { type LazyMemory, missingBytes, takeLazyMemory } from '../checkpoint/lazyMemory.ts';
import { finishFiles, makeFiles } from '../checkpoint/makeFiles.ts';
import { corrupt, sourceOf } from '../checkpoint/openCheckpoint.ts';
import { newDigestSeed } from '../checkpoint/pageDigests.ts';
import { partOf } from '../checkpoint/pieces.ts';
import type { Destination } from '../checkpoint/places.ts';
import { CheckpointReader } from '../checkpoint/reader.ts';
import { missingFeatures, readCpuFeatures } from '../cpu.ts';
import { encodePagemap, pagemapName, pagesName } from '../criu/pagemap.ts';
import { FreezerError } from '../errors.ts';
import { isNoSpace } from '../noSpace.ts';
import { requireRoomForImages } from '../run/roomForImages.ts';
import type { StepProgress } from '../runtime.ts';
import { ChunkCache } from './chunkCache.ts';
import { fillLazily } from './lazyFill.ts';
import { PageSource } from './pageSource.ts';
import type { FillOrder, Found, ThawOrder } from './protocol.ts';
import { isLazyThaw, memoryImageBytes } from './thawMode.ts';

export class Fetch implements AsyncDisposable {
  readonly #store: Store;
  readonly #reader: CheckpointReader;
  readonly #order: ThawOrder;
  readonly #report: (progress: StepProgress) => void;
  /** Of what is to be there before the start. */
  readonly #index: Index;
  /** What is left out of the images. */
  readonly #lazy: readonly LazyMemory[];
  readonly #digestSeed: bigint;
  #digests: DigestFiller | undefined;

  private constructor(
    { store, reader, digestSeed }: { store: Store; reader: CheckpointReader; digestSeed: bigint },
    { index, lazy }: { index: Index; lazy: readonly LazyMemory[] },
    order: ThawOrder,
    report: (progress: StepProgress) => void,
  ) {
    this.#store = store;
    this.#reader = reader;
    this.#digestSeed = digestSeed;
    this.#index = index;
    this.#lazy = lazy;
    this.#order = order;
    this.#report = report;
  }

  /** Makes the checkpoint's files, too, without their content. */
  static async open(order: ThawOrder, report: (progress: StepProgress) => void): Promise<Fetch> {
    const { place, checkpointId, known } = order;
    const store = await openStore(place.storeUrl).catch((error: unknown) => {
      throw storeFailed(error);
    });
    const digestSeed = newDigestSeed();
    const source = { ...sourceOf(store, place), known };
    const reader = await CheckpointReader.open(source, checkpointId, new Codec(order.toolboxDirectory), digestSeed);
    await checkMachine(reader.manifest);
    const fetch = new Fetch({ store, reader, digestSeed }, await choose(reader, order), order, report);
    await fetch.#checked(() => makeFiles(order.filesDirectory, reader.index.files));
    return fetch;
  }

  get found(): Found {
    const { rootPid, logSizes, image } = this.#reader.manifest;
    const isFolder = ({ type, path }: FileEntry) => type === 'directory' && !path.includes('/');
    const folders = this.#reader.index.files.filter(isFolder).map(({ path }) => path);
    return { rootPid, logSizes, image, folders, isLazy: this.#lazy.length > 0 };
  }

  /** Resolves when all is there that is to be before the start. What it leaves out for a lazy thaw, `fill` brings afterwards. */
  async fetch(): Promise<void> {
    const { imagesDirectory, filesDirectory, toolboxDirectory, digestsDirectory } = this.#order;
    const { files } = this.#index;
    const destinations = [
      ...(await makeImages(imagesDirectory, this.#index)),
      ...files.flatMap((entry) =>
        entry.type === 'file' ? [{ ...entry, path: join(filesDirectory, entry.path) }] : [],
      ),
    ];
    await this.#fetch(destinations, digestsDirectory);
    await this.#checked(() => finishFiles(filesDirectory, files, toolboxDirectory));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#digests?.[Symbol.dispose]();
    await this.#store[Symbol.asyncDispose]();
  }

  /** Resolves when a program that was restored lazily has all its memory. Rejects as `fillLazily` does. */
  async fill({ controlDirectory }: FillOrder): Promise<void> {
    const totalBytes = missingBytes(this.#lazy);
    const cache = new ChunkCache(this.#reader, (chunk, pageDigests) => this.#digests?.chunkRead(chunk, pageDigests));
    const source = new PageSource(this.#lazy, cache);
    source.start();
    await fillLazily({
      controlDirectory,
      memory: this.#lazy,
      source,
      // What was asked for twice is brought twice.
      onBrought: (bytes) => this.#report({ step: 'filling', doneBytes: Math.min(bytes, totalBytes), totalBytes }),
    });
    this.#digests?.keep(this.#reader.manifest.id);
  }

  async #fetch(destinations: readonly Destination[], digestsDirectory: string): Promise<void> {
    const { manifest, index } = this.#reader;
    using filler = new FileFiller(destinations, index.chunks);
    const digests = new DigestFiller(digestsDirectory, index, this.#digestSeed);
    this.#digests = digests;
    const totalBytes = manifest.memoryBytes + manifest.fileBytes;
    const planned = new Set<number>();
    let doneBytes = 0;
    const planFor = (chunk: number) => {
      const writes = filler.writesFor(chunk);
      if (writes) planned.add(chunk);
      return writes;
    };
    const onChunk = (chunk: number, content: Uint8Array, pageDigests: Uint8Array) => {
      doneBytes += planned.delete(chunk) ? filler.written(chunk) : filler.fill(chunk, content);
      digests.chunkRead(chunk, pageDigests);
      this.#report({ step: 'fetching', doneBytes, totalBytes });
    };
    await this.#reader.readChunks(filler.wanted, onChunk, { planFor });
    filler.finish();
    if (this.#lazy.length === 0) digests.keep(manifest.id);
  }

  /** A name that this file system does not take, or one that is there twice, is the checkpoint's fault; a full disk is not. */
  async #checked(work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      throw isNoSpace(error) || error instanceof FreezerError
        ? error
        : corrupt(this.#reader.manifest.id, `its files cannot be made: ${error}`);
    }
  }
}

/** What is to be fetched before the start, and what is not. Rejects with `FreezerError` `diskFull` where the former has no room. */
async function choose(
  { manifest, index }: CheckpointReader,
  { mode, imagesDirectory }: ThawOrder,
): Promise<{ index: Index; lazy: readonly LazyMemory[] }> {
  const split = takeLazyMemory(manifest.id, index);
  const sizes = { memoryBytes: manifest.memoryBytes, imageBytes: memoryImageBytes(index) };
  const isLazy = await isLazyThaw(mode, split.lazy, { ...sizes, imagesDirectory });
  const chosen = isLazy ? split : { index, lazy: [] };
  await requireRoomForImages(imagesDirectory, memoryImageBytes(chosen.index));
  return chosen;
}

async function checkMachine({ architecture, cpuFeatures, id }: Manifest): Promise<void> {
  const remedy = 'Thaw it on a machine of the same kind or newer.';
  if (architecture !== arch()) {
    throw new FreezerError(
      'cpuMismatch',
      `Checkpoint ${id} was taken on ${architecture}; this machine is ${arch()}.`,
      remedy,
    );
  }
  const missing = missingFeatures(cpuFeatures, await readCpuFeatures());
  if (missing.length > 0) {
    throw new FreezerError(
      'cpuMismatch',
      `Checkpoint ${id} needs CPU features that this machine lacks: ${missing.join(', ')}.`,
      remedy,
    );
  }
}

/** CRIU's image folder without the content of pages: small images, pagemaps made anew, and page files of the right size. */
async function makeImages(directory: string, index: Index): Promise<Destination[]> {
  const images = await Promise.all(
    index.images.map(({ name, sizeBytes, pieces }) => makeFile(join(directory, name), sizeBytes, pieces)),
  );
  const memory = index.memory.map(async ({ object, ranges, pieces }, at) => {
    const pagesId = at + 1;
    const pagemap = encodePagemap(
      pagesId,
      ranges.map(([address, pages, flags]) => [BigInt(address), pages, flags]),
    );
    await using file = await open(join(directory, pagemapName(BigInt(object))), 'wx');
    await file.writeFile(pagemap);
    const sizeBytes = pieces.reduce<number>((sum, piece) => sum + (partOf(piece, index.chunks)?.sizeBytes ?? 0), 0);
    return await makeFile(join(directory, pagesName(pagesId)), sizeBytes, pieces);
  });
  return [...images, ...(await Promise.all(memory))];
}

async function makeFile(path: string, sizeBytes: number, pieces: Destination['pieces']): Promise<Destination> {
  await using file = await open(path, 'wx');
  await file.truncate(sizeBytes);
  return { path, sizeBytes, pieces };
}
