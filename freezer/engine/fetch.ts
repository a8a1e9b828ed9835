/** One checkpoint on its way out of the store. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { arch } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { readFailed, requireManifest, storeFailed } from '../checkpoint/catalogue.ts';
import { type Destination, readChunksInto } from '../checkpoint/chunkReader.ts';
import { Compressors } from '../checkpoint/compressors.ts';
import { Index, type Manifest } from '../checkpoint/format.ts';
import { finishFiles, makeFiles } from '../checkpoint/makeFiles.ts';
import { missingFeatures, readCpuFeatures } from '../cpu.ts';
import { encodePagemap, pagemapName, pagesName } from '../criu/pagemap.ts';
import { FreezerError } from '../errors.ts';
import type { CheckpointPlace, StepProgress } from '../runtime.ts';
import type { Fetched, FreezeFolders } from './protocol.ts';

/** A 64 GiB job's index has about 30 MB. */
const LARGEST_INDEX_BYTES = 2 ** 30;

export class Fetch implements AsyncDisposable {
  readonly #store: Store;
  readonly #prefix: string;
  readonly #manifest: Manifest;
  readonly #compressors = new Compressors();
  readonly #report: (progress: StepProgress) => void;

  private constructor(store: Store, prefix: string, manifest: Manifest, report: (progress: StepProgress) => void) {
    this.#store = store;
    this.#prefix = prefix;
    this.#manifest = manifest;
    this.#report = report;
  }

  static async open(place: CheckpointPlace, id: string, report: (progress: StepProgress) => void): Promise<Fetch> {
    const store = await openStore(place.storeUrl).catch((error: unknown) => {
      throw storeFailed(error);
    });
    return new Fetch(store, place.prefix, await requireManifest(store, place.prefix, id), report);
  }

  async into({ imagesDirectory, filesDirectory, toolboxDirectory }: FreezeFolders): Promise<Fetched> {
    await this.#checkMachine();
    const index = await this.#readIndex();
    await this.#checked(makeFiles(filesDirectory, index.files));
    const destinations = [
      ...(await makeImages(imagesDirectory, index)),
      ...index.files.flatMap((entry) =>
        entry.type === 'file' ? [{ ...entry, path: join(filesDirectory, entry.path) }] : [],
      ),
    ];
    await this.#fill(destinations, index);
    await this.#checked(finishFiles(filesDirectory, index.files, toolboxDirectory));
    const { rootPid, logSizes, image } = this.#manifest;
    return { rootPid, logSizes, image };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#compressors[Symbol.asyncDispose]();
    await this.#store[Symbol.asyncDispose]();
  }

  /** A name that this file system does not take, or one that is there twice, is the checkpoint's fault; a full disk is not. */
  async #checked(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
      throw isFull || error instanceof FreezerError ? error : this.#corrupt(`its files cannot be made: ${error}`);
    }
  }

  async #checkMachine(): Promise<void> {
    const { architecture, cpuFeatures, id } = this.#manifest;
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

  async #readIndex(): Promise<Index> {
    const { key, sha256 } = this.#manifest.index;
    const bytes = await this.#store.get(this.#prefix + key).catch((error: unknown) => {
      throw readFailed(error);
    });
    if (createHash('sha256').update(bytes).digest('hex') !== sha256)
      throw this.#corrupt('its index does not have the hash that its manifest says');
    const text = await promisify(zstdDecompress)(bytes, { maxOutputLength: LARGEST_INDEX_BYTES });
    const parsed = Index.safeParse(JSON.parse(text.toString('utf8')));
    if (!parsed.success) throw this.#corrupt(`its index is malformed: ${parsed.error.issues[0]?.message}`);
    return parsed.data;
  }

  async #fill(destinations: readonly Destination[], index: Index): Promise<void> {
    const totalBytes = this.#manifest.memoryBytes + this.#manifest.fileBytes;
    let doneBytes = 0;
    const onRead = (bytes: number) => {
      doneBytes += bytes;
      this.#report({ step: 'fetching', doneBytes, totalBytes });
    };
    await readChunksInto(destinations, index, {
      store: this.#store,
      prefix: this.#prefix,
      compressors: this.#compressors,
      signal: new AbortController().signal,
      onRead,
    });
  }

  #corrupt(what: string): FreezerError {
    return new FreezerError(
      'corrupt',
      `Checkpoint ${this.#manifest.id} is corrupt: ${what}.`,
      'Floe falls back to the checkpoint before it.',
    );
  }
}

/** CRIU's image folder without the content of pages: small images, pagemaps made anew, and page files of the right size. */
async function makeImages(directory: string, index: Index): Promise<Destination[]> {
  const images = await Promise.all(
    index.images.map(({ name, sizeBytes, chunks }) => makeFile(join(directory, name), sizeBytes, chunks)),
  );
  const memory = index.memory.map(async ({ object, ranges, chunks }, at) => {
    const pagesId = at + 1;
    const pagemap = encodePagemap(
      pagesId,
      ranges.map(([address, pages, flags]) => [BigInt(address), pages, flags]),
    );
    await using file = await open(join(directory, pagemapName(BigInt(object))), 'wx');
    await file.writeFile(pagemap);
    const sizeBytes = chunks.reduce((sum, number) => sum + (index.chunks[number]?.[4] ?? 0), 0);
    return await makeFile(join(directory, pagesName(pagesId)), sizeBytes, chunks);
  });
  return [...images, ...(await Promise.all(memory))];
}

async function makeFile(path: string, sizeBytes: number, chunks: readonly number[]): Promise<Destination> {
  await using file = await open(path, 'wx');
  await file.truncate(sizeBytes);
  return { path, chunks };
}
