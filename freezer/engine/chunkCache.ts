/**
 * Chunks of a checkpoint on demand and ahead of demand, in bounded memory. A store that fails is asked again for as long as this
 * process lives: whoever waits here is a program that waits for its memory, and the one who could give it up is the worker.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type CheckpointReader, MOST_UNPACKED_BYTES, type OnChunk } from '../checkpoint/reader.ts';
import { FreezerError } from '../errors.ts';
import { Spaces } from './spaces.ts';

/** Memory that is kept. */
const MOST_BYTES = 80 * 2 ** 20;
/** Read ahead with one request: enough to make what a request costs, the store and here, small beside it. */
const BATCH_CHUNKS = 32;
/** Of a pack, for one request: what lies between the chunks is read in vain. */
const BATCH_SPAN_BYTES = 8 * 2 ** 20;
const BATCHES_IN_FLIGHT = 4;
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5000;
/**
 * Who has waited so long gets a request of its own. Of many requests one is answered late, or never where its connection has died, and
 * a store says so only after a minute. What the second one costs is small: a chunk, not the batch.
 */
const ASK_AGAIN_AFTER_MS = 1000;

/** A chunk's content, which stays as it is until this is disposed of. */
export interface HeldChunk extends Disposable {
  readonly content: Uint8Array;
}

/** A chunk that the store was asked for. */
interface Coming extends PromiseWithResolvers<void> {
  isAskedForAgain: boolean;
}

/** What is kept and let go as one. */
interface Piece {
  readonly chunks: number[];
  readonly hold: Disposable;
}

/** What is needed of a reader. */
export type ChunkReader = Pick<CheckpointReader, 'readChunk' | 'readChunks' | 'index'>;

export class ChunkCache {
  readonly #reader: ChunkReader;
  readonly #onRead: (chunk: number, digests: Uint8Array) => void;
  readonly #contents = new Map<number, Uint8Array>();
  /**
   * By their memory; the one that was used last at the end. A batch comes as one piece: a copy of each chunk would be as much work
   * as all else that is done here.
   */
  readonly #pieces = new Map<ArrayBufferLike, Piece>();
  readonly #spaces = new Spaces(MOST_UNPACKED_BYTES);
  readonly #coming = new Map<number, Coming>();
  #ahead: number[] = [];
  #batches = 0;
  #bytes = 0;

  /** `onRead` is called for each chunk that came, with what the reader says of its blocks. */
  constructor(reader: ChunkReader, onRead: (chunk: number, digests: Uint8Array) => void) {
    this.#reader = reader;
    this.#onRead = onRead;
  }

  /** What is there already. */
  getAtOnce(chunk: number): HeldChunk | undefined {
    const content = this.#contents.get(chunk);
    if (!content) return undefined;
    this.#use(content.buffer);
    const hold = this.#spaces.hold(content.buffer);
    return { content, [Symbol.dispose]: () => hold[Symbol.dispose]() };
  }

  /** Rejects with `FreezerError` `corrupt` for a chunk that does not verify; waits out a store that does not answer. */
  async get(chunk: number): Promise<HeldChunk> {
    for (;;) {
      const held = this.getAtOnce(chunk);
      if (held) return held;
      const coming = this.#coming.get(chunk) ?? this.#bring(chunk);
      const timer = setTimeout(() => this.#askAgain(chunk, coming), ASK_AGAIN_AFTER_MS);
      await coming.promise.finally(() => clearTimeout(timer));
    }
  }

  #bring(chunk: number): Coming {
    const coming = this.#expect(chunk);
    this.#read(chunk);
    return coming;
  }

  /** Once, however many wait. */
  #askAgain(chunk: number, coming: Coming): void {
    if (coming.isAskedForAgain) return;
    coming.isAskedForAgain = true;
    this.#read(chunk);
  }

  #read(chunk: number): void {
    void this.#insist([chunk], async () => {
      const { content, digests } = await this.#reader.readChunk(chunk);
      this.#came(chunk, content, digests);
    });
  }

  /** Reads these in the background, before all that was asked for so earlier. */
  readAhead(chunks: readonly number[]): void {
    this.#ahead = [...chunks.filter((chunk) => this.#isNew(chunk)), ...this.#ahead];
    this.#startBatches();
  }

  #startBatches(): void {
    while (this.#batches < BATCHES_IN_FLIGHT) {
      const batch = this.#nextBatch();
      if (batch.length === 0) return;
      this.#batches += 1;
      for (const chunk of batch) this.#expect(chunk).promise.catch(() => undefined); // told to whoever asks for the chunk
      void this.#insist(batch, async (rest) => {
        const memoryFor = (sizeBytes: number) => this.#spaces.take(sizeBytes);
        const onChunk: OnChunk = (chunk, content, digests) => this.#came(chunk, content, digests);
        await this.#reader.readChunks(rest, onChunk, { memoryFor });
      }).finally(() => {
        this.#batches -= 1;
        this.#startBatches();
      });
    }
  }

  /** Chunks that lie near the first that is wanted, in its pack: their order among the addresses may go back and forth between packs. */
  #nextBatch(): number[] {
    const wanted = new Set(this.#ahead.filter((chunk) => this.#isNew(chunk)));
    const [first = -1] = wanted;
    const near = [...wanted].filter((chunk) => this.#areNear(first, chunk)).slice(0, BATCH_CHUNKS);
    for (const chunk of near) wanted.delete(chunk);
    this.#ahead = [...wanted];
    return near;
  }

  #isNew(chunk: number): boolean {
    return !this.#contents.has(chunk) && !this.#coming.has(chunk);
  }

  #areNear(one: number, other: number): boolean {
    const { chunks } = this.#reader.index;
    const [, pack, offset = 0] = chunks[one] ?? [];
    const [, otherPack, otherOffset = 0] = chunks[other] ?? [];
    return pack === otherPack && Math.abs(offset - otherOffset) <= BATCH_SPAN_BYTES;
  }

  #expect(chunk: number): Coming {
    const coming = { ...Promise.withResolvers<void>(), isAskedForAgain: false };
    this.#coming.set(chunk, coming);
    return coming;
  }

  /** Of two answers the first counts. */
  #came(chunk: number, content: Uint8Array, digests: Uint8Array): void {
    const coming = this.#coming.get(chunk);
    if (!coming) return;
    this.#coming.delete(chunk);
    this.#keep(chunk, content);
    coming.resolve();
    this.#onRead(chunk, digests);
  }

  #keep(chunk: number, content: Uint8Array): void {
    this.#contents.set(chunk, content);
    this.#use(content.buffer).chunks.push(chunk);
    for (const [oldest, { chunks, hold }] of this.#pieces) {
      if (this.#bytes <= MOST_BYTES) return;
      for (const each of chunks) this.#contents.delete(each);
      this.#pieces.delete(oldest);
      this.#bytes -= oldest.byteLength;
      hold[Symbol.dispose]();
    }
  }

  #use(memory: ArrayBufferLike): Piece {
    const piece = this.#pieces.get(memory) ?? this.#begin(memory);
    this.#pieces.delete(memory);
    this.#pieces.set(memory, piece);
    return piece;
  }

  #begin(memory: ArrayBufferLike): Piece {
    this.#bytes += memory.byteLength;
    return { chunks: [], hold: this.#spaces.hold(memory) };
  }

  /** Never rejects: the chunks' own promises do. */
  async #insist(chunks: readonly number[], read: (rest: number[]) => Promise<void>): Promise<void> {
    for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_RETRY_MS)) {
      const rest = chunks.filter((chunk) => this.#coming.has(chunk));
      if (rest.length === 0) return;
      try {
        await read(rest);
      } catch (error) {
        if (!(error instanceof FreezerError && error.code === 'storeFailed')) return this.#giveUp(rest, error);
        await delay(waitMs);
      }
    }
  }

  #giveUp(chunks: readonly number[], error: unknown): void {
    for (const chunk of chunks) {
      this.#coming.get(chunk)?.reject(error);
      this.#coming.delete(chunk);
    }
  }
}
