/** What waits to be examined, in the order in which it came, handed out in batches: one call of the codec each. */

/** Large enough to make messages cheap, small enough to share work evenly. */
const BATCH = { sizeBytes: 2 * 2 ** 20, contents: 512 };

export class Batches<T> {
  #waiting: { readonly what: T; readonly sizeBytes: number }[] = [];
  #sizeBytes = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Whether there is a whole batch. */
  get isReady(): boolean {
    return this.#sizeBytes >= BATCH.sizeBytes || this.#waiting.length >= BATCH.contents;
  }

  add(what: T, sizeBytes: number): void {
    this.#waiting.push({ what, sizeBytes });
    this.#sizeBytes += sizeBytes;
  }

  /** A batch, or what there is. */
  take(): T[] {
    let [count, sizeBytes] = [0, 0];
    while (count < Math.min(this.#waiting.length, BATCH.contents) && sizeBytes < BATCH.sizeBytes)
      sizeBytes += this.#waiting[count++]?.sizeBytes ?? 0;
    this.#sizeBytes -= sizeBytes;
    return this.#waiting.splice(0, count).map(({ what }) => what);
  }
}
