/**
 * One checkpoint, opened for reading. Chunks are fetched, decompressed and verified by the codec; no content that
 * is not what the index says is ever given out.
 */
import pLimit from 'p-limit';
import { cancelled, FreezerError } from '../errors.ts';
import { readFailed } from './catalogue.ts';
import type { Codec, MemoryFor, StoredChunk, Unpacked } from './codec.ts';
import type { Chunk, Index, Manifest } from './format.ts';
import { type CheckpointSource, corrupt, type OpenedCheckpoint, openCheckpoint } from './openCheckpoint.ts';
import { CHUNK_BYTES, digestBytesOf } from './sizes.ts';
import type { Write } from './writePlan.ts';

const PACKS_IN_FLIGHT = 3;
/** Chunks in one call of the codec. */
const BATCH_CHUNKS = 16;
/** What such a call hands back, at most: contents and the digests of their pages. */
export const MOST_UNPACKED_BYTES = BATCH_CHUNKS * (CHUNK_BYTES + digestBytesOf(CHUNK_BYTES));

/** `content` is empty where the codec wrote it; `digests` are those of its pages, empty where the reader has no seed. */
export type OnChunk = (number: number, content: Uint8Array, digests: Uint8Array) => void;

export interface ReadChunksOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where the codec writes a chunk's content itself; null to have it handed to `onChunk`. */
  readonly planFor?: (number: number) => readonly Write[] | null;
  /** Gives the memory for some chunks and their digests, at most `MOST_UNPACKED_BYTES`; new memory unless told. */
  readonly memoryFor?: MemoryFor;
}

export class CheckpointReader {
  readonly manifest: Manifest;
  readonly index: Index;
  readonly #source: CheckpointSource;
  readonly #opened: OpenedCheckpoint;
  readonly #codec: Codec;
  readonly #digestSeed: bigint | null;

  /** `digestSeed`: for the digests of pages (pageDigests.ts), where somebody wants them. */
  constructor(source: CheckpointSource, opened: OpenedCheckpoint, codec: Codec, digestSeed: bigint | null = null) {
    this.#digestSeed = digestSeed;
    this.#source = source;
    this.#opened = opened;
    this.#codec = codec;
    this.manifest = opened.manifest;
    this.index = opened.index;
  }

  /** Rejects as `openCheckpoint` does. */
  static async open(
    source: CheckpointSource,
    id: string,
    codec: Codec,
    digestSeed: bigint | null = null,
  ): Promise<CheckpointReader> {
    return new CheckpointReader(source, await openCheckpoint(source, id), codec, digestSeed);
  }

  /**
   * Reads packs, several at a time, and calls `onChunk` once for each chunk, in any order. Rejects with `FreezerError` `corrupt` for
   * the first chunk that does not verify, `storeFailed` when a pack cannot be read, `cancelled`.
   */
  async readChunks(numbers: Iterable<number>, onChunk: OnChunk, options: ReadChunksOptions = {}): Promise<void> {
    const limit = pLimit(PACKS_IN_FLIGHT);
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    let failure: unknown;
    const reads = [...this.#byPack(numbers)].map(([pack, wanted]) =>
      limit(() => this.#readPack(pack, wanted, onChunk, { ...options, signal })).catch((error: unknown) => {
        // The first is the cause; those after it only tell that they were stopped.
        failure ??= error;
        stop.abort();
      }),
    );
    await Promise.all(reads);
    if (failure !== undefined) throw failure;
  }

  /** One chunk's content, without the rest of its pack. Rejects as `readChunks` does. */
  async readChunk(number: number, signal?: AbortSignal): Promise<{ content: Uint8Array; digests: Uint8Array }> {
    const chunk = this.#chunk(number);
    const [, pack, offsetBytes, lengthBytes] = chunk;
    const bytes = await this.#get(pack, { offsetBytes, lengthBytes }, signal);
    const { contents, digests } = await this.#unpack(bytes, [described(chunk, offsetBytes)]);
    letGo(bytes);
    return { content: contents, digests };
  }

  #byPack(numbers: Iterable<number>): Map<number, number[]> {
    const byPack = new Map<number, number[]>();
    for (const number of new Set(numbers)) {
      const pack = this.#chunk(number)[1];
      const wanted = byPack.get(pack) ?? [];
      wanted.push(number);
      byPack.set(pack, wanted);
    }
    const offset = (number: number) => this.#chunk(number)[2];
    for (const wanted of byPack.values()) wanted.sort((a, b) => offset(a) - offset(b));
    return byPack;
  }

  async #readPack(
    pack: number,
    wanted: readonly number[],
    onChunk: OnChunk,
    { signal, planFor, memoryFor }: ReadChunksOptions,
  ): Promise<void> {
    if (signal?.aborted) throw new FreezerError('cancelled', 'Reading the checkpoint was cancelled.', 'Nothing to do.');
    const chunks = wanted.map((number) => this.#chunk(number));
    const start = chunks[0]?.[2] ?? 0;
    const end = chunks.reduce((most, [, , offset, storedBytes]) => Math.max(most, offset + storedBytes), 0);
    const bytes = await this.#get(pack, { offsetBytes: start, lengthBytes: end - start }, signal);
    for (let at = 0; at < wanted.length; at += BATCH_CHUNKS) {
      const batch = wanted.slice(at, at + BATCH_CHUNKS);
      const stored = batch.map((number) => {
        const writes = planFor?.(number);
        return { ...described(this.#chunk(number), start), ...(writes ? { writes } : {}) };
      });
      const { contents, digests } = await this.#unpack(bytes, stored, memoryFor);
      this.#handOut(batch, stored, contents, digests, onChunk);
    }
    letGo(bytes);
  }

  #handOut(
    batch: readonly number[],
    stored: readonly StoredChunk[],
    contents: Uint8Array,
    digests: Uint8Array,
    onChunk: OnChunk,
  ): void {
    let [contentAt, digestAt] = [0, 0];
    for (const [index, number] of batch.entries()) {
      const { contentBytes, writes } = stored[index] as StoredChunk;
      const contentEnd = contentAt + (writes ? 0 : contentBytes);
      const digestEnd = digestAt + (this.#digestSeed === null ? 0 : digestBytesOf(contentBytes));
      onChunk(number, contents.subarray(contentAt, contentEnd), digests.subarray(digestAt, digestEnd));
      [contentAt, digestAt] = [contentEnd, digestEnd];
    }
  }

  async #unpack(bytes: Uint8Array, chunks: readonly StoredChunk[], memoryFor?: MemoryFor): Promise<Unpacked> {
    const [keys, digestSeed] = [this.#opened.keys, this.#digestSeed];
    const unpacked = await this.#codec.unpack({ bytes, chunks, keys, digestSeed, memoryFor });
    if (unpacked.damaged === null) return unpacked;
    const { id } = chunks[unpacked.damaged] ?? { id: '' };
    throw corrupt(this.manifest.id, `chunk ${id.slice(0, 12)} does not have its content`);
  }

  #get(
    pack: number,
    range: { offsetBytes: number; lengthBytes: number },
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const { store, prefix } = this.#source;
    const key = prefix + (this.manifest.packs[pack]?.key ?? '');
    return store.get(key, { range, ...(signal ? { signal } : {}) }).catch((error: unknown) => {
      throw signal?.aborted ? cancelled(error) : readFailed(error);
    });
  }

  #chunk(number: number): Chunk {
    const chunk = this.index.chunks[number];
    if (!chunk) throw corrupt(this.manifest.id, `its index has no chunk ${number}`);
    return chunk;
  }
}

/** `start`: where the bytes that hold it begin in the pack. */
function described([id, , offset, storedBytes, contentBytes]: Chunk, start: number): StoredChunk {
  return { id, offset: offset - start, storedBytes, contentBytes };
}

/**
 * Gives their memory back at once, where it is theirs alone. As garbage it would stay until V8 looks for it: megabytes with every read, of which V8
 * sees a few bytes.
 */
function letGo(bytes: Buffer): void {
  if (bytes.buffer instanceof ArrayBuffer && bytes.length === bytes.buffer.byteLength) bytes.buffer.transfer(0);
}
