/**
 * From content to packs in the store: content is cut into chunks, batches of chunks go to the compressor threads, what
 * comes back is packed, and full packs are sent, several at a time.
 *
 * Every stage is bounded, and a writer that runs ahead of the slowest stage waits: `ready()` resolves when there is room.
 * Chunks come back out of order; an index is given out when a chunk is cut, so order does not matter to the caller.
 */
import pLimit from 'p-limit';
import type { Store } from '../../store/store.ts';
import { FreezerError } from '../errors.ts';
import { storeFailed } from './catalogue.ts';
import type { PackAnswer } from './compressor.ts';
import type { Compressors } from './compressors.ts';
import { CHUNK_BYTES, checkpointKeys, type Index } from './format.ts';

/** Content per message to a thread: large enough to make messages cheap, small enough to share work evenly. */
const BATCH_BYTES = 8 * CHUNK_BYTES;
/** A pack is sent once it holds this much. */
const PACK_BYTES = 16 * 2 ** 20;
const PACKS_IN_FLIGHT = 4;
/** Most content that waits for a compressor thread, by default. */
const BUFFER_BYTES = 128 * 2 ** 20;

type StoredChunk = Index['chunks'][number];

export interface ChunkWriterOptions {
  readonly store: Store;
  readonly prefix: string;
  /** Names the packs. */
  readonly checkpointId: string;
  readonly compressors: Compressors;
  readonly signal: AbortSignal;
  readonly bufferBytes?: number;
  /** Called as packs become durable. */
  readonly onSent?: (sentBytes: number) => void;
}

export class ChunkWriter {
  readonly chunks: StoredChunk[] = [];
  readonly packs: Index['packs'] = [];
  /** Bytes that went to the store. */
  sentBytes = 0;

  readonly #options: ChunkWriterOptions;
  readonly #limit = pLimit(PACKS_IN_FLIGHT);
  readonly #mostBatches: number;
  readonly #spare: Uint8Array[] = [];
  /** Where a content is already, by its hash. */
  readonly #known = new Map<string, StoredChunk>();
  #batch: Uint8Array;
  #batchFill = 0;
  #sizes: number[] = [];
  #firstOfBatch = 0;
  #cut = 0;
  #batchesUnderWay = 0;
  #pack: Uint8Array[] = [];
  #packFill = 0;
  #packNumber = 0;
  #failure: unknown;
  #waiters: (() => void)[] = [];
  readonly #sending = new Set<Promise<void>>();

  constructor(options: ChunkWriterOptions) {
    this.#options = options;
    this.#mostBatches = Math.max(2, Math.floor((options.bufferBytes ?? BUFFER_BYTES) / BATCH_BYTES));
    this.#batch = new Uint8Array(BATCH_BYTES);
    options.signal.addEventListener('abort', () => this.#signalChange(), { once: true });
  }

  /** Whether the caller should ask `ready()` before it adds more: there is no room, or no use in it. */
  get isFull(): boolean {
    return this.#hasFailed || this.#isOverfull;
  }

  get #isOverfull(): boolean {
    return this.#batchesUnderWay + this.#limit.pendingCount * (PACK_BYTES / BATCH_BYTES) >= this.#mostBatches;
  }

  /** Resolves when there is room; rejects when writing has failed. */
  async ready(): Promise<void> {
    while (this.#isOverfull && !this.#hasFailed) await this.#change();
    this.#rethrow();
  }

  /** Begins a chunk and gives its index. */
  beginChunk(): number {
    if (this.#batchFill + CHUNK_BYTES > BATCH_BYTES) this.#sendBatch();
    this.#sizes.push(0);
    return this.#cut++;
  }

  /** Copies bytes to the end of the chunk begun last, which holds at most `CHUNK_BYTES`. */
  append(bytes: Uint8Array): void {
    const last = this.#sizes.length - 1;
    this.#batch.set(bytes, this.#batchFill);
    this.#batchFill += bytes.length;
    this.#sizes[last] = (this.#sizes[last] ?? 0) + bytes.length;
  }

  /** Resolves when all that was added is durable. */
  async finish(): Promise<void> {
    if (this.#sizes.length > 0) this.#sendBatch();
    while (this.#batchesUnderWay > 0 && !this.#hasFailed) await this.#change();
    this.#rethrow();
    this.#sendPack();
    await Promise.all(this.#sending);
    this.#rethrow();
  }

  #sendBatch(): void {
    const sizes = this.#sizes;
    const first = this.#firstOfBatch;
    const bytes = this.#batch;
    this.#batch = this.#spare.pop() ?? new Uint8Array(BATCH_BYTES);
    this.#batchFill = 0;
    this.#sizes = [];
    this.#firstOfBatch = this.#cut;
    if (sizes.length === 0) return;
    this.#batchesUnderWay++;
    this.#options.compressors.pack(bytes, sizes).then(
      (answer) => this.#store(first, answer),
      (error: unknown) => this.#fail(error),
    );
  }

  #store(first: number, answer: PackAnswer): void {
    let at = 0;
    for (const [index, { sha256, contentBytes, storedBytes }] of answer.chunks.entries()) {
      const bytes = answer.bytes.subarray(at, at + storedBytes);
      at += storedBytes;
      this.chunks[first + index] =
        sha256 === null ? [ZERO_HASH, -1, 0, 0, contentBytes] : this.#place(sha256, contentBytes, bytes);
    }
    this.#spare.push(answer.spent);
    this.#batchesUnderWay--;
    this.#signalChange();
  }

  #place(sha256: string, contentBytes: number, bytes: Uint8Array): StoredChunk {
    const known = this.#known.get(sha256);
    if (known) return known;
    const chunk: StoredChunk = [sha256, this.#packNumber, this.#packFill, bytes.length, contentBytes];
    this.#known.set(sha256, chunk);
    this.#pack.push(bytes);
    this.#packFill += bytes.length;
    if (this.#packFill >= PACK_BYTES) this.#sendPack();
    return chunk;
  }

  #sendPack(): void {
    if (this.#packFill === 0) return;
    const { store, prefix, checkpointId, signal, onSent } = this.#options;
    const [parts, sizeBytes] = [this.#pack, this.#packFill];
    const key = checkpointKeys.pack(checkpointId, this.#packNumber++);
    this.packs.push({ key, sizeBytes });
    this.#pack = [];
    this.#packFill = 0;
    const sending = this.#limit(() => store.create(prefix + key, parts, { signal })).then(
      () => {
        this.sentBytes += sizeBytes;
        onSent?.(this.sentBytes);
        this.#sending.delete(sending);
        this.#signalChange();
      },
      (error: unknown) => this.#fail(storeFailed(error)),
    );
    this.#sending.add(sending);
  }

  get #hasFailed(): boolean {
    return this.#failure !== undefined || this.#options.signal.aborted;
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#signalChange();
  }

  #rethrow(): void {
    if (this.#options.signal.aborted)
      throw new FreezerError('cancelled', 'The checkpoint was cancelled.', 'Nothing to do.');
    if (this.#failure !== undefined) throw this.#failure;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #signalChange(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

const ZERO_HASH = '0'.repeat(64);
