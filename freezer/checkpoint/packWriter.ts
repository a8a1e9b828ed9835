/** Stored chunks, put together in packs and sent, several at a time. */
import pLimit from 'p-limit';
import type { Store } from '../../store/store.ts';
import { storeFailed } from './catalogue.ts';
import { CHUNK_BYTES, checkpointKeys, type Manifest } from './format.ts';

/** A pack is sent once it holds this much. */
const PACK_BYTES = 16 * 2 ** 20;
const PACKS_IN_FLIGHT = 3;
/** Packs in memory, sent or not, before nothing more is compressed. */
const MOST_UNSENT = 8;
/** More than a chunk ever takes: content that does not compress, and a seal. */
const MOST_STORED_BYTES = 2 * CHUNK_BYTES;

export interface PackWriterOptions {
  readonly store: Store;
  readonly prefix: string;
  /** Names the packs. */
  readonly checkpointId: string;
  /** Called as packs become durable, and when sending one has failed. */
  readonly onChange: () => void;
}

export class PackWriter {
  /** Those sent or being sent. */
  readonly packs: Manifest['packs'] = [];
  /** Bytes that are durable. */
  sentBytes = 0;
  /** Why the first pack that failed did. */
  failure: unknown;
  readonly #options: PackWriterOptions;
  readonly #limit = pLimit(PACKS_IN_FLIGHT);
  readonly #sending = new Set<Promise<void>>();
  /** Packs wait for this one. */
  #letGo = Promise.withResolvers<void>();
  /** Of packs that have been sent. */
  readonly #spaces: Buffer[] = [];
  #space: Buffer | null = null;
  #fill = 0;

  constructor(options: PackWriterOptions) {
    this.#options = options;
    this.#letGo.resolve();
  }

  /** Whether to add nothing for now: as much as may be on its way is. */
  get isFull(): boolean {
    return this.#sending.size >= MOST_UNSENT;
  }

  /** Sends nothing until `letGo`, but puts packs together all the same. */
  holdBack(): void {
    this.#letGo = Promise.withResolvers<void>();
  }

  letGo(): void {
    this.#letGo.resolve();
  }

  /** Copies it. The number of the pack that it will be in, counted from 0, and its offset there. */
  add(stored: Uint8Array): [pack: number, offset: number] {
    const place: [number, number] = [this.packs.length, this.#fill];
    this.#space ??= this.#spaces.pop() ?? Buffer.allocUnsafeSlow(PACK_BYTES + MOST_STORED_BYTES);
    this.#space.set(stored, this.#fill);
    this.#fill += stored.length;
    if (this.#fill >= PACK_BYTES) this.#send();
    return place;
  }

  /** Nothing will be added any more: `packs` is what it will be. */
  end(): void {
    this.letGo();
    if (this.#fill > 0) this.#send();
  }

  /** After `end`. Resolves when all that was added is durable, or sending has failed. */
  async sent(): Promise<void> {
    await Promise.all(this.#sending);
  }

  #send(): void {
    const { store, prefix, checkpointId, onChange } = this.#options;
    const [space, sizeBytes] = [this.#space as Buffer, this.#fill];
    const key = checkpointKeys.pack(checkpointId, this.packs.length);
    this.packs.push({ key, sizeBytes });
    this.#space = null;
    this.#fill = 0;
    const sending = this.#letGo.promise
      .then(() => this.#limit(() => store.create(prefix + key, space.subarray(0, sizeBytes))))
      .then(
        () => {
          this.sentBytes += sizeBytes;
          this.#spaces.push(space);
        },
        (error: unknown) => {
          this.failure ??= storeFailed(error);
        },
      )
      .finally(() => {
        this.#sending.delete(sending);
        onChange();
      });
    this.#sending.add(sending);
  }
}
