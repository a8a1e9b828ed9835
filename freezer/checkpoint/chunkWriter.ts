/**
 * From content to packs in the store. The codec examines what comes in, and compresses what is most likely new in the same go; what is
 * to be done is decided here.
 *
 *   content ──► examined ──► the base or this checkpoint has it: referred to
 *                       └──► new: packed ──► sent
 *
 * Memory is bounded by the slabs that content lies in, which come free when it has been examined, and by the number of packs on
 * their way: nothing is compressed while that many are. A writer that runs ahead waits for `ready`.
 */
import { FreezerError } from '../errors.ts';
import type { Base } from './base.ts';
import { Batches } from './batches.ts';
import type { ChunkKeys, Codec, Examined, Finding, Question } from './codec.ts';
import { type Content, sizeOf } from './content.ts';
import type { Chunk, Manifest } from './format.ts';
import { PackWriter, type PackWriterOptions } from './packWriter.ts';
import { Slabs } from './slabs.ts';

/** Most content in slabs, by default. */
const BUFFER_BYTES = 64 * 2 ** 20;
/** Most that waits in no slab: in files, and pages that were gathered from many. */
const MOST_BESIDE_BYTES = 64 * 2 ** 20;
/** Batches that each thread has before it: so much work that it does not stand idle while a pack is hashed and handed to the network. */
const BATCHES_AHEAD = 8;

export interface ChunkWriterOptions extends Omit<PackWriterOptions, 'onChange'> {
  readonly codec: Codec;
  readonly base: Base | null;
  readonly keys: ChunkKeys | null;
  /** See pageDigests.ts. */
  readonly digestSeed: bigint;
  readonly bufferBytes?: number | undefined;
  /** Called as packs become durable. */
  readonly onSent?: (sentBytes: number) => void;
}

/** What to find out; nothing by default. */
type Asked = Partial<Pick<Question, 'digests' | 'stored'>>;

/** Until it returns the content, and what the finding has, stays as it is. */
type OnFinding = (finding: Finding) => void;
type Examining = Question & { readonly onFinding: OnFinding };

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
  readonly #toLookAt = new Batches<Examining>();
  readonly #toCompress = new Batches<Examining>();
  #lookingAt = 0;
  #compressing = 0;
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

  /** Whether nothing is compressed until packs have been sent. */
  get arePacksFull(): boolean {
    return this.#packs.isFull;
  }

  /** Bytes that are durable. */
  get sentBytes(): number {
    return this.#packs.sentBytes;
  }

  /** Sends nothing until `letGo`, or until somebody waits for room. */
  holdBack(): void {
    this.#packs.holdBack();
  }

  letGo(): void {
    this.#packs.letGo();
  }

  /** Resolves when there is room; rejects when writing has failed. */
  async ready(): Promise<void> {
    while (this.#isCrowded && this.#failure === undefined) {
      this.letGo();
      this.#startExamining({ all: true });
      await this.#changed();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Finds out what is `asked` about content of at most `CHUNK_BYTES`. */
  examine(content: Content, asked: Asked, onFinding: OnFinding): void {
    this.#hold(content);
    const examining = { content, digests: false, stored: false, ...asked, onFinding };
    (examining.stored ? this.#toCompress : this.#toLookAt).add(examining, sizeOf(content));
    this.#startExamining();
  }

  /** The number of the chunk with this content, of which has been found what is `stored`; it is sent if nobody has it yet. */
  store(content: Content, { id, stored }: Finding): number {
    const inBase = this.#options.base?.find(id);
    const known = this.#own.get(id) ?? (inBase === undefined ? undefined : this.reuse(inBase));
    if (known !== undefined) return known;
    const number = this.reserve();
    this.#own.set(id, number);
    this.#pack(number, id, sizeOf(content), stored);
    return number;
  }

  /** The number of a chunk that is still being put together; `storeReserved` must follow. */
  reserve(): number {
    return this.#chunks.push(undefined) - 1;
  }

  storeReserved(number: number, content: Content): void {
    // It was not all zeros when it was looked at, so there is something to store.
    this.examine(content, { stored: true }, ({ id, stored }) => this.#pack(number, id, sizeOf(content), stored));
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
    while (this.#isExamining && this.#failure === undefined) {
      if (this.#packs.isFull && !this.#toCompress.isEmpty) this.letGo();
      this.#startExamining({ all: true });
      await this.#changed();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when all is in packs, to what the index and the manifest say of it. Nothing may be added any more. */
  async finish(): Promise<{ chunks: Chunk[]; packs: Manifest['packs'] }> {
    await this.allExamined();
    this.#packs.end();
    const { base } = this.#options;
    const packs = [...this.#basePacks.map((number) => (base as Base).pack(number)), ...this.#packs.packs];
    const chunks = this.#chunks.map((chunk): Chunk => {
      if (!chunk) throw new FreezerError('failed', 'A chunk was not stored.', 'This is a defect of Floe.');
      const [id, pack, ...rest] = chunk;
      return [id, pack < 0 ? -1 - pack : pack + this.#basePacks.length, ...rest];
    });
    return { chunks, packs };
  }

  /** After `finish`. Resolves when all packs are durable. */
  async sent(): Promise<void> {
    await this.#packs.sent();
    if (this.#packs.failure !== undefined) throw this.#packs.failure;
  }

  get #isCrowded(): boolean {
    return this.slabs.isFull || this.#besideBytes > MOST_BESIDE_BYTES;
  }

  get #isExamining(): boolean {
    return this.#lookingAt + this.#compressing > 0 || !this.#toLookAt.isEmpty || !this.#toCompress.isEmpty;
  }

  get #mayCompress(): boolean {
    return !this.#packs.isFull && this.#compressing < BATCHES_AHEAD * this.#options.codec.count;
  }

  /** Whole batches; `all`: what there is besides, since nothing may come that would make it one. */
  #startExamining({ all = false } = {}): void {
    while (this.#toLookAt.isReady || (all && !this.#toLookAt.isEmpty)) {
      this.#lookingAt++;
      this.#examineBatch(this.#toLookAt.take(), () => this.#lookingAt--);
    }
    while (this.#mayCompress && (this.#toCompress.isReady || (all && !this.#toCompress.isEmpty))) {
      this.#compressing++;
      this.#examineBatch(this.#toCompress.take(), () => this.#compressing--);
    }
  }

  #examineBatch(batch: readonly Examining[], done: () => void): void {
    const { codec, keys, digestSeed } = this.#options;
    codec
      .examine({ questions: batch, keys, digestSeed })
      .then((examined) => {
        done();
        this.#tell(batch, examined);
        this.#startExamining();
        this.#change();
      })
      .catch((error: unknown) => this.#fail(error));
  }

  #tell(batch: readonly Examining[], examined: Examined): void {
    using _ = examined;
    for (const [index, { content, onFinding }] of batch.entries()) {
      onFinding(examined.findings[index] as Finding);
      this.#release(content);
    }
  }

  #pack(number: number, id: string, contentBytes: number, stored: Uint8Array): void {
    const [pack, offset] = this.#packs.add(stored);
    this.#chunks[number] = [id, pack, offset, stored.length, contentBytes];
  }

  #packSent(): void {
    if (this.#packs.failure !== undefined) this.#fail(this.#packs.failure);
    this.#options.onSent?.(this.#packs.sentBytes);
    this.#startExamining();
    this.#change();
  }

  #hold(content: Content): void {
    for (const part of content) if (!this.slabs.hold(part)) this.#besideBytes += part.length;
  }

  #release(content: Content): void {
    for (const part of content) if (!this.slabs.release(part)) this.#besideBytes -= part.length;
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
