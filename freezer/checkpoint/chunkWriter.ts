/**
 * From content to packs in the store. What comes in is examined first; what the base or this checkpoint has already is
 * referred to; only the rest is compressed, packed and sent. Threads examine and compress; what is to be done is decided here.
 *
 *   content ──► examined ──► known: referred to
 *                       └──► new: compressed ──► packed ──► sent
 *
 * Memory is bounded by the slabs that content lies in: they come free when their content is known or compressed, and nothing
 * is compressed while as many packs as may be are on their way. A writer that runs ahead waits for `ready`.
 */
import { FreezerError } from '../errors.ts';
import type { Base } from './base.ts';
import type { ChunkKeys, Content, Question } from './compressor.ts';
import type { Compressors } from './compressors.ts';
import { type Chunk, type Manifest, PAGE_BYTES } from './format.ts';
import { PackWriter, type PackWriterOptions } from './packWriter.ts';
import { DIGEST_BYTES } from './pageDigests.ts';
import { Slabs } from './slabs.ts';

/** Content in one message to a thread: large enough to make messages cheap, small enough to share work evenly. */
const BATCH = { sizeBytes: 2 * 2 ** 20, contents: 512 };
/** Most content that waits to be examined or compressed, by default. */
const BUFFER_BYTES = 64 * 2 ** 20;
/** Most that waits in no slab: pages that were gathered from many. */
const MOST_BESIDE_BYTES = 32 * 2 ** 20;

export interface ChunkWriterOptions extends Omit<PackWriterOptions, 'onChange'> {
  readonly compressors: Compressors;
  readonly base: Base | null;
  readonly keys: ChunkKeys | null;
  /** See pageDigests.ts. */
  readonly digestSeed: bigint;
  readonly bufferBytes?: number | undefined;
  /** Called as packs become durable. */
  readonly onSent?: (sentBytes: number) => void;
}

/** What was found out about some content. Without having been asked for, `id` and `digests` are empty. */
export interface Finding {
  readonly isZero: boolean;
  readonly id: string;
  /** Of its pages, see pageDigests.ts. */
  readonly digests: Uint8Array;
}

/** Until it returns the content stays as it is. */
type OnFinding = (finding: Finding) => void;
type Examining = Question & { onFinding: OnFinding };
/** `besideBytes`: how much of it lies in no slab. */
type Packing = { number: number; id: string; content: Content; besideBytes: number };

export class ChunkWriter {
  /** Where content is read into. */
  readonly slabs: Slabs;
  readonly #options: ChunkWriterOptions;
  readonly #packs: PackWriter;
  readonly #basePacks: number[] = [];
  readonly #basePackPositions = new Map<number, number>();
  /** Packs of the base have negative numbers here: -1 is the first of `#basePacks`. */
  readonly #chunks: (Chunk | undefined)[] = [];
  /** Chunks of this checkpoint, by id; those that are the base's, by their number there. */
  readonly #own = new Map<string, number>();
  readonly #fromBase = new Map<number, number>();
  #toExamine: Examining[] = [];
  #toExamineBytes = 0;
  #toPack: Packing[] = [];
  #underWay = 0;
  #examining = 0;
  #packing = 0;
  #besideBytes = 0;
  #failure: unknown;
  #waiters: (() => void)[] = [];

  constructor(options: ChunkWriterOptions) {
    this.#options = options;
    const onChange = () => this.#change();
    this.slabs = new Slabs(options.bufferBytes ?? BUFFER_BYTES, onChange);
    this.#packs = new PackWriter({ ...options, onChange: () => this.#packSent() });
  }

  /** Whether the caller should ask `ready()` before it reads more: there is no room, or no use in it. */
  get isFull(): boolean {
    return this.#isCrowded || this.#failure !== undefined;
  }

  /** Bytes that are durable. */
  get sentBytes(): number {
    return this.#packs.sentBytes;
  }

  /** Resolves when there is room; rejects when writing has failed. */
  async ready(): Promise<void> {
    while (this.#isCrowded && this.#failure === undefined) {
      this.#startExamining();
      await this.#changed();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Finds out about content that lies in the slabs what `asked` says. */
  examine(content: Content, asked: { id: boolean; digests: boolean }, onFinding: OnFinding): void {
    for (const part of content) {
      this.slabs.hold(part);
      this.#toExamineBytes += part.length;
    }
    this.#toExamine.push({ content, ...asked, onFinding });
    if (this.#toExamineBytes >= BATCH.sizeBytes || this.#toExamine.length >= BATCH.contents) this.#startExamining();
  }

  /** The number of the chunk with this content, of at most `CHUNK_BYTES`, and this id; it is sent if nobody has it yet. */
  store(content: Content, id: string): number {
    const inBase = this.#options.base?.find(id);
    const known = this.#own.get(id) ?? (inBase === undefined ? undefined : this.reuse(inBase));
    if (known !== undefined) return known;
    const number = this.reserve();
    this.#own.set(id, number);
    this.#pack(number, id, content);
    return number;
  }

  /** The number of a chunk that is still being put together; `storeReserved` must follow. */
  reserve(): number {
    return this.#chunks.push(undefined) - 1;
  }

  /** For content that lies in no slab. */
  storeReserved(number: number, content: Content): void {
    const besideBytes = sizeOf(content);
    this.#besideBytes += besideBytes;
    this.examine(content, { id: true, digests: false }, ({ id }) => this.#pack(number, id, content, besideBytes));
  }

  #pack(number: number, id: string, content: Content, besideBytes = 0): void {
    for (const part of content) this.slabs.hold(part);
    this.#toPack.push({ number, id, content, besideBytes });
  }

  get #isCrowded(): boolean {
    return this.slabs.isFull || this.#besideBytes > MOST_BESIDE_BYTES;
  }

  /** The number here of a chunk of the base's. */
  reuse(baseChunk: number): number {
    const known = this.#fromBase.get(baseChunk);
    if (known !== undefined) return known;
    const { base } = this.#options;
    if (!base) throw new Error('There is no base.');
    const [id, pack, ...rest] = base.chunk(baseChunk);
    let position = this.#basePackPositions.get(pack);
    if (position === undefined) {
      position = this.#basePacks.push(pack) - 1;
      this.#basePackPositions.set(pack, position);
    }
    const number = this.#chunks.push([id, -1 - position, ...rest]) - 1;
    this.#fromBase.set(baseChunk, number);
    this.#own.set(id, number);
    return number;
  }

  /** Resolves when everything has been examined, and so every `onFinding` been called. */
  async allExamined(): Promise<void> {
    while (this.#examining + this.#toExamine.length > 0 && this.#failure === undefined) {
      this.#startExamining();
      await this.#changed();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when all that was added is durable, to what the index and the manifest say of it. */
  async finish(): Promise<{ chunks: Chunk[]; packs: Manifest['packs'] }> {
    await this.allExamined();
    this.#startPacking();
    while (this.#underWay + this.#toPack.length > 0 && this.#failure === undefined) await this.#changed();
    if (this.#failure !== undefined) throw this.#failure;
    await this.#packs.finish();
    if (this.#packs.failure !== undefined) throw this.#packs.failure;
    const { base } = this.#options;
    const packs = [...this.#basePacks.map((number) => (base as Base).pack(number)), ...this.#packs.packs];
    const chunks = this.#chunks.map((chunk): Chunk => {
      if (!chunk) throw new FreezerError('failed', 'A chunk was not stored.', 'This is a defect of Floe.');
      const [id, pack, ...rest] = chunk;
      return [id, pack < 0 ? -1 - pack : pack + this.#basePacks.length, ...rest];
    });
    return { chunks, packs };
  }

  #startExamining(): void {
    const batch = this.#toExamine;
    if (batch.length === 0) return;
    this.#toExamine = [];
    this.#toExamineBytes = 0;
    this.#examining++;
    const { compressors, keys, digestSeed } = this.#options;
    const questions = batch.map(({ content, id, digests }) => ({ content, id, digests }));
    this.#follow(compressors.examine({ questions, keys, digestSeed }), ({ isZero, ids, digests }) => {
      this.#examining--;
      let at = 0;
      for (const [index, { content, digests: asked, onFinding }] of batch.entries()) {
        const end = at + (asked ? Math.floor(sizeOf(content) / PAGE_BYTES) * DIGEST_BYTES : 0);
        onFinding({ isZero: isZero[index] ?? false, id: ids[index] ?? '', digests: digests.subarray(at, end) });
        at = end;
        this.#release(content);
      }
      this.#startPacking();
    });
  }

  #startPacking(): void {
    const most = 2 * this.#options.compressors.count;
    while (this.#toPack.length > 0 && !this.#packs.isFull && this.#packing < most) {
      this.#packing++;
      const batch = this.#toPack.splice(0, takeWhile(this.#toPack));
      const { compressors, keys } = this.#options;
      const chunks = batch.map(({ id, content }) => ({ id, content }));
      this.#follow(compressors.pack(chunks, keys), ({ bytes, sizes }) => {
        let at = 0;
        for (const [index, { number, id, content, besideBytes }] of batch.entries()) {
          const sizeBytes = sizes[index] ?? 0;
          const [pack, offset] = this.#packs.add(bytes.subarray(at, at + sizeBytes));
          this.#chunks[number] = [id, pack, offset, sizeBytes, sizeOf(content)];
          at += sizeBytes;
          this.#besideBytes -= besideBytes;
          this.#release(content);
        }
        this.#packing--;
        this.#startPacking();
      });
    }
  }

  #packSent(): void {
    if (this.#packs.failure !== undefined) this.#fail(this.#packs.failure);
    this.#options.onSent?.(this.#packs.sentBytes);
    this.#startPacking();
    this.#change();
  }

  #follow<T>(work: Promise<T>, then: (answer: T) => void): void {
    this.#underWay++;
    work.then(then).then(
      () => {
        this.#underWay--;
        this.#change();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #release(content: Content): void {
    for (const part of content) this.slabs.release(part);
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#change();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #change(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

/** How many make a batch. */
function takeWhile(packing: readonly Packing[]): number {
  let sizeBytes = 0;
  const end = packing.findIndex(({ content }, at) => {
    sizeBytes += sizeOf(content);
    return sizeBytes > BATCH.sizeBytes && at > 0;
  });
  return end < 0 ? packing.length : end;
}

function sizeOf(content: Content): number {
  return content.reduce((sum, part) => sum + part.length, 0);
}
