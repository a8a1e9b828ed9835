/**
 * The memory that content passes through on its way out: it is read into a slab once, and nothing copies it again until it is
 * compressed. A slab is used again when nobody holds a part of it.
 */
import type { ContentPart } from './content.ts';
import { CHUNK_BYTES } from './format.ts';

/** Large enough for a whole read of a socket, small enough to come free soon. */
export const SLAB_BYTES = 8 * CHUNK_BYTES;

export class Slabs {
  readonly #most: number;
  readonly #free: ArrayBufferLike[] = [];
  readonly #holds = new Map<ArrayBufferLike, number>();
  readonly #onFree: () => void;
  #current: ArrayBufferLike;
  #fill = 0;

  /** `onFree` is called when a slab may be used again. */
  constructor(mostBytes: number, onFree: () => void) {
    this.#most = Math.max(4, Math.floor(mostBytes / SLAB_BYTES));
    this.#onFree = onFree;
    this.#current = this.#take();
  }

  /** Whether everything is in use. One read may still be taken: a socket that was told to stop may have begun one. */
  get isFull(): boolean {
    return this.#holds.size >= this.#most && this.#free.length === 0;
  }

  /** Memory to read into, at least `sizeBytes` in one part (at most a slab). What was read is then told to `took`. */
  space(sizeBytes = 1): Buffer {
    if (SLAB_BYTES - this.#fill < sizeBytes) {
      const full = this.#current;
      this.#current = this.#take();
      this.#fill = 0;
      this.#letGo(full);
    }
    return Buffer.from(this.#current, this.#fill);
  }

  /** Its slab is not held by that: whoever uses what was read holds it before the next `space`. */
  took(sizeBytes: number): void {
    this.#fill += sizeBytes;
  }

  /** Keeps the slab that `part` lies in from being used again; false for what lies in none. */
  hold(part: ContentPart): boolean {
    const slab = this.#slabOf(part);
    if (!slab) return false;
    this.#holds.set(slab, (this.#holds.get(slab) ?? 0) + 1);
    return true;
  }

  /** The same answer as that of `hold`. */
  release(part: ContentPart): boolean {
    const slab = this.#slabOf(part);
    if (!slab) return false;
    this.#letGo(slab);
    return true;
  }

  #slabOf(part: ContentPart): ArrayBufferLike | null {
    return part instanceof Uint8Array && this.#holds.has(part.buffer) ? part.buffer : null;
  }

  #take(): ArrayBufferLike {
    const slab = this.#free.pop() ?? new ArrayBuffer(SLAB_BYTES);
    this.#holds.set(slab, 1);
    return slab;
  }

  #letGo(slab: ArrayBufferLike): void {
    const holds = (this.#holds.get(slab) ?? 0) - 1;
    this.#holds.set(slab, holds);
    if (holds > 0) return;
    this.#holds.delete(slab);
    this.#free.push(slab);
    this.#onFree();
  }
}
