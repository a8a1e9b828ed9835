/** One checkpoint on its way into the store. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { arch, release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { controlFiles } from '../agent/protocol.ts';
import { storeFailed, summarize } from '../checkpoint/catalogue.ts';
import { ChunkWriter } from '../checkpoint/chunkWriter.ts';
import { Compressors } from '../checkpoint/compressors.ts';
import {
  CHUNK_BYTES,
  checkpointKeys,
  type FileEntry,
  FORMAT_VERSION,
  type Index,
  type Manifest,
} from '../checkpoint/format.ts';
import { MemoryWriter } from '../checkpoint/memory.ts';
import { readChunks, saveFiles } from '../checkpoint/saveFiles.ts';
import { headerLayout, PageServer } from '../criu/pageServer.ts';
import type { CheckpointPlace, CheckpointSummary, StepProgress } from '../runtime.ts';
import type { CommitFacts, FreezeFolders } from './protocol.ts';

/** One large buffer for the page stream: reading 64 KiB at a time halves the rate. */
const RECEIVE_BYTES = 2 ** 20;

type Report = (progress: StepProgress) => void;

export class Save {
  readonly #store: Store;
  readonly #prefix: string;
  readonly #id: string;
  readonly #writer: ChunkWriter;
  readonly #memory: MemoryWriter;
  readonly #report: Report;
  #memoryBytes = 0;
  #fileBytes = 0;
  #images: Index['images'] = [];
  #files: FileEntry[] = [];
  #logSizes = { stdout: 0, stderr: 0 };

  private constructor(store: Store, place: CheckpointPlace, id: string, report: Report) {
    this.#store = store;
    this.#prefix = place.prefix;
    this.#id = id;
    this.#report = report;
    this.#writer = new ChunkWriter({
      store,
      prefix: place.prefix,
      checkpointId: id,
      compressors: new Compressors(),
      // The engine process is ended to cancel: there is nothing that a signal would add.
      signal: new AbortController().signal,
      onSent: (doneBytes) => report({ step: 'sending', doneBytes, totalBytes: null }),
    });
    this.#memory = new MemoryWriter(this.#writer);
  }

  static async open(place: CheckpointPlace, id: string, report: Report): Promise<Save> {
    try {
      return new Save(await openStore(place.storeUrl), place, id, report);
    } catch (error) {
      throw storeFailed(error);
    }
  }

  async receivePages(controlDirectory: string, criuVersion: [number, number, number]): Promise<{ isWhole: boolean }> {
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
    const take = (size: number, buffer: Uint8Array): boolean => {
      try {
        server.feed(Buffer.from(buffer.buffer, buffer.byteOffset, size));
      } catch (error) {
        fail(error);
        return false;
      }
      this.#report({ step: 'dumping', doneBytes: server.receivedBytes, totalBytes: null });
      // CRIU stays connected for as long as it holds the program.
      if (server.isClosed) end();
      if (!this.#writer.isFull) return true;
      this.#writer.ready().then(() => socket.resume(), fail);
      return false;
    };
    const socket = connect({ path, onread: { buffer: Buffer.allocUnsafeSlow(RECEIVE_BYTES), callback: take } });
    socket.once('error', fail);
    socket.once('close', end);
    return promise;
  }

  async readFiles(folders: FreezeFolders): Promise<void> {
    const { imagesDirectory, filesDirectory, toolboxDirectory } = folders;
    const onRead = (bytes: number) => {
      this.#fileBytes += bytes;
      this.#report({ step: 'saving files', doneBytes: this.#fileBytes, totalBytes: null });
    };
    this.#images = await this.#readImages(imagesDirectory);
    this.#files = await saveFiles(filesDirectory, { toolboxDirectory, writer: this.#writer, onRead });
    const sizeOf = async (name: string) => (await lstat(join(filesDirectory, 'logs', name))).size;
    this.#logSizes = { stdout: await sizeOf('stdout'), stderr: await sizeOf('stderr') };
  }

  async #readImages(directory: string): Promise<Index['images']> {
    const images: Index['images'] = [];
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    for (const name of (await readdir(directory)).sort()) {
      if (!name.endsWith('.img')) continue;
      // Never through a link: what is read here, the container's side has written.
      await using file = await open(join(directory, name), constants.O_RDONLY | constants.O_NOFOLLOW);
      const { size } = await file.stat();
      images.push({
        name,
        sizeBytes: size,
        chunks: await readChunks(file.fd, size, this.#writer, buffer, () => undefined),
      });
    }
    return images;
  }

  async commit(facts: CommitFacts): Promise<CheckpointSummary> {
    await this.#writer.finish();
    const index = await this.#writeIndex();
    const manifest: Manifest = {
      version: FORMAT_VERSION,
      id: this.#id,
      ...facts,
      cpuFeatures: [...facts.cpuFeatures],
      kernel: release(),
      architecture: arch(),
      logSizes: this.#logSizes,
      memoryBytes: this.#memoryBytes,
      fileBytes: this.#fileBytes,
      sentBytes: this.#writer.sentBytes + index.sizeBytes,
      index,
    };
    await this.#create(checkpointKeys.manifest(this.#id), Buffer.from(JSON.stringify(manifest, null, 1)));
    return summarize(manifest);
  }

  async #writeIndex(): Promise<Manifest['index']> {
    const { packs, chunks } = this.#writer;
    const index: Index = { packs, chunks, memory: this.#memory.objects, images: this.#images, files: this.#files };
    const bytes = await promisify(zstdCompress)(JSON.stringify(index));
    const key = checkpointKeys.index(this.#id);
    await this.#create(key, bytes);
    return { key, sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  async #create(key: string, bytes: Buffer): Promise<void> {
    await this.#store.create(this.#prefix + key, bytes).catch((error: unknown) => {
      throw storeFailed(error);
    });
  }
}
