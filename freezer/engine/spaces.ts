/**
 * Memory for batches of content that is used again when nobody holds it. New memory for each batch would be garbage until V8 looks
 * for it, as much again as what is kept, and the system would have to find and zero the pages of each.
 */

export class Spaces {
  /** All alike, so that any of them does for any batch. */
  readonly spaceBytes: number;
  readonly #free: ArrayBufferLike[] = [];
  readonly #holds = new Map<ArrayBufferLike, number>();

  constructor(spaceBytes: number) {
    this.spaceBytes = spaceBytes;
  }

  /**
   * Room for `sizeBytes`, held by nobody yet: without a hold it is never used again, but left to V8, which is what becomes of a batch
   * that failed. A batch that is small beside a space, or larger, gets memory of its own.
   */
  take(sizeBytes: number): Uint8Array {
    const isOrdinary = sizeBytes <= this.spaceBytes && sizeBytes > this.spaceBytes / 2;
    if (!isOrdinary) return Buffer.allocUnsafeSlow(sizeBytes);
    return new Uint8Array(this.#free.pop() ?? Buffer.allocUnsafeSlow(this.spaceBytes).buffer, 0, sizeBytes);
  }

  /** Keeps this memory from being used for something else until it is disposed of. */
  hold(memory: ArrayBufferLike): Disposable {
    this.#holds.set(memory, (this.#holds.get(memory) ?? 0) + 1);
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (isHeld) this.#letGo(memory);
        isHeld = false;
      },
    };
  }

  #letGo(memory: ArrayBufferLike): void {
    const holds = (this.#holds.get(memory) ?? 0) - 1;
    if (holds > 0) {
      this.#holds.set(memory, holds);
      return;
    }
    this.#holds.delete(memory);
    if (memory.byteLength === this.spaceBytes) this.#free.push(memory);
  }
}
