/** Stored chunks, put together in packs and sent, several at a time. */
import pLimit from 'p-limit';
import type { Store } from '../../store/store.ts';
import { storeFailed } from './catalogue.ts';
import { checkpointKeys, type Manifest } from './format.ts';

/** A pack is sent once it holds this much. */
const PACK_BYTES = 16 * 2 ** 20;
const PACKS_IN_FLIGHT = 3;

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
  #parts: Uint8Array[] = [];
  #fill = 0;

  constructor(options: PackWriterOptions) {
    this.#options = options;
  }

  /** Whether to add nothing for now: as much as may be on its way is. */
  get isFull(): boolean {
    return this.#limit.pendingCount > 0;
  }

  /** The number of the pack that it will be in, counted from 0, and its offset there. The bytes must not change any more. */
  add(stored: Uint8Array): [pack: number, offset: number] {
    const place: [number, number] = [this.packs.length, this.#fill];
    this.#parts.push(stored);
    this.#fill += stored.length;
    if (this.#fill >= PACK_BYTES) this.#send();
    return place;
  }

  /** Resolves when all that was added is durable, or sending has failed. */
  async finish(): Promise<void> {
    if (this.#fill > 0) this.#send();
    await Promise.all(this.#sending);
  }

  #send(): void {
    const { store, prefix, checkpointId, onChange } = this.#options;
    const [parts, sizeBytes] = [this.#parts, this.#fill];
    const key = checkpointKeys.pack(checkpointId, this.packs.length);
    this.packs.push({ key, sizeBytes });
    this.#parts = [];
    this.#fill = 0;
    const sending = this.#limit(() => store.create(prefix + key, parts))
      .then(
        () => {
          this.sentBytes += sizeBytes;
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
