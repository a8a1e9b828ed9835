import { ArchiveFailure } from './failure.ts';
import { damaged } from './tarFormat.ts';

/** A stream of bytes that is read in pieces of the reader's choice. */
export class ByteSource {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  readonly #mostBytes: number;
  #readBytes = 0;

  /** Reading more than `mostBytes` throws `ArchiveFailure` `tooLarge`. */
  constructor(chunks: AsyncIterable<Buffer>, mostBytes: number) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#mostBytes = mostBytes;
  }

  /** Exactly so many bytes, in a buffer of their own or a part of one. Throws `damaged` when the stream ends before. */
  async take(count: number): Promise<Buffer> {
    if (this.#held.length < count) await this.#hold(count);
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(count);
    return taken;
  }

  /** Some bytes, at most `atMost`. Throws `damaged` at the end of the stream. */
  async some(atMost: number): Promise<Buffer> {
    if (this.#held.length === 0) await this.#hold(1);
    return this.take(Math.min(atMost, this.#held.length));
  }

  /** Passes over what is left. */
  async drain(): Promise<void> {
    this.#held = Buffer.alloc(0);
    while ((await this.#next()) !== null);
  }

  async #hold(count: number): Promise<void> {
    const parts = [this.#held];
    for (let held = this.#held.length; held < count; ) {
      const chunk = await this.#next();
      if (chunk === null) throw damaged('it ends too early');
      held += chunk.length;
      parts.push(chunk);
    }
    this.#held = Buffer.concat(parts);
  }

  async #next(): Promise<Buffer | null> {
    const next = await this.#chunks.next();
    if (next.done) return null;
    this.#readBytes += next.value.length;
    if (this.#readBytes > this.#mostBytes) {
      const what = `The archive holds more than ${this.#mostBytes} bytes.`;
      throw new ArchiveFailure('tooLarge', what, 'Leave some files out, or make them smaller.');
    }
    return next.value;
  }
}
