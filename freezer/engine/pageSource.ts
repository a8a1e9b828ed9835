/**
 * The lazy pages of a job by their addresses, from chunks that are fetched as the questions come.
 *
 * What fills the memory asks for what the program touches, and in the background for all the rest by rising address from where it was
 * touched last. So does a program that goes through its memory. Whoever asks where another question has been just before is taken to go
 * on like that, and the further it went the further is read ahead.
 */
import { PAGE_BYTES } from '../checkpoint/format.ts';
import type { LazyMemory } from '../checkpoint/lazyMemory.ts';
import { FreezerError } from '../errors.ts';
import type { ChunkCache } from './chunkCache.ts';
import type { Pages } from './fillMessages.ts';

const FIRST_AHEAD_CHUNKS = 4;
const MOST_AHEAD_CHUNKS = 128;
/** One for the background, and some for threads of the program that go through its memory at different places. */
const MOST_STREAMS = 6;

/** Pages in order, which stay as they are until this is disposed of. */
export interface Answer extends Disposable {
  readonly pages: readonly Uint8Array[];
}

/** Somebody who goes through the memory: chunks up to `readTo`, in the order of addresses, have been asked for on its behalf. */
interface Stream {
  at: number;
  readTo: number;
  ahead: number;
}

export class PageSource {
  readonly #memory: ReadonlyMap<number, LazyMemory>;
  readonly #cache: ChunkCache;
  /** All chunks in the order in which a reader of all addresses first meets them, and the place of each in it. */
  readonly #order: number[] = [];
  readonly #placeOf = new Map<number, number>();
  /** The one that asked last at the end. */
  #streams: Stream[] = [];

  constructor(memory: readonly LazyMemory[], cache: ChunkCache) {
    this.#memory = new Map(memory.map((one) => [one.process, one]));
    this.#cache = cache;
    for (const { chunks } of memory) for (const chunk of chunks) this.#place(chunk);
  }

  /** Where the background begins, before anybody asks: it wants all of it, so that nothing is gained by going slowly at first. */
  start(): void {
    const readTo = Math.min(MOST_AHEAD_CHUNKS, this.#order.length);
    this.#cache.readAhead(this.#order.slice(0, readTo));
    this.#streams = [{ at: 0, readTo, ahead: MOST_AHEAD_CHUNKS }];
  }

  /**
   * As many of the pages as can be had at once, one at least, in order. Rejects with `FreezerError` `corrupt` for content that does not
   * verify, `failed` for a page that is not lazy.
   */
  async answer({ process, address, pages }: Pages): Promise<Answer> {
    const memory = this.#memory.get(process);
    const first = memory ? indexAt(memory.addresses, address) : -1;
    if (!memory || first < 0) throw unknown(process, address);
    const wantedEnd = address + pages * PAGE_BYTES;
    using holds = new DisposableStack();
    const answer: Uint8Array[] = [];
    let at = address;
    for (let index = first; at < wantedEnd && index < memory.addresses.length; index++) {
      const begin = memory.addresses[index] ?? 0;
      const end = begin + (memory.sizes[index] ?? 0);
      if (at < begin || at >= end) break;
      const chunk = memory.chunks[index] ?? -1;
      if (chunk < 0) break;
      this.#readAhead(this.#placeOf.get(chunk) ?? 0);
      const held = answer.length === 0 ? await this.#cache.get(chunk) : this.#cache.getAtOnce(chunk);
      if (!held) break;
      const until = Math.min(end, wantedEnd);
      const offset = (memory.offsets[index] ?? 0) - begin;
      answer.push(holds.use(held).content.subarray(offset + at, offset + until));
      at = until;
    }
    if (answer.length === 0) throw unknown(process, address);
    const untilWritten = holds.move();
    return { pages: answer, [Symbol.dispose]: () => untilWritten.dispose() };
  }

  #place(chunk: number): void {
    if (chunk < 0 || this.#placeOf.has(chunk)) return;
    this.#placeOf.set(chunk, this.#order.length);
    this.#order.push(chunk);
  }

  #readAhead(place: number): void {
    const last = this.#streams.at(-1);
    if (last?.at === place) return;
    const found = this.#streams.find(({ at, readTo }) => place >= at && place <= readTo);
    const stream = found ?? { at: place, readTo: place, ahead: FIRST_AHEAD_CHUNKS };
    this.#streams = [...this.#streams.filter((other) => other !== stream), stream].slice(-MOST_STREAMS);
    stream.at = place;
    // Not chunk by chunk: one request for many is cheaper than many.
    if (stream.readTo - place > stream.ahead / 2) return;
    if (found) stream.ahead = Math.min(stream.ahead * 2, MOST_AHEAD_CHUNKS);
    const readTo = Math.min(place + stream.ahead, this.#order.length);
    this.#cache.readAhead(this.#order.slice(Math.max(stream.readTo, place), readTo));
    stream.readTo = readTo;
  }
}

/** Which of the rising `addresses` is the last that is not above; -1 for none. */
function indexAt(addresses: Float64Array, address: number): number {
  let [low, high] = [-1, addresses.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((addresses[middle] ?? 0) <= address) low = middle;
    else high = middle - 1;
  }
  return low;
}

function unknown(process: number, address: number): FreezerError {
  return new FreezerError(
    'failed',
    `The checkpoint has no lazy page at ${address.toString(16)} of process ${process}.`,
    'Thaw it eagerly.',
  );
}
