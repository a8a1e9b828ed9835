/**
 * What engine and filler (agent/native/fillMemory.c) say to each other while a program gets its memory that runs already. Each message has
 * 24 bytes, `u32 kind; u32 process; u64 address; u64 pages`, little-endian: pages of the process with that id in the checkpoint, by the
 * address that they had there.
 *
 *   engine → filler   range       these pages are missing; of each process by rising address
 *                     rangesEnd   that was all
 *   filler → engine   wanted      a program waits for the first of these pages
 *                     next        these, too, but nobody waits
 *                     done        nothing is missing any more
 *   engine → filler   pages       these are their bytes, which follow
 *
 * Answers come in any order and in parts of any size up to `MOST_PAGES`, once for each page that was asked for, so twice where it was
 * asked for twice. The filler leaves when it has said that it is done.
 */
import { PAGE_BYTES } from '../checkpoint/format.ts';
import type { LazyMemory } from '../checkpoint/lazyMemory.ts';
import { FreezerError } from '../errors.ts';

const Kind = { range: 1, rangesEnd: 2, wanted: 3, next: 4, pages: 5, done: 6 } as const;

const MESSAGE_BYTES = 24;
/** In one answer, and in one question. */
export const MOST_PAGES = 1024;
const END_OF_MEMORY = 2n ** 53n;

/** Pages of a process, by its id in the container. */
export interface Pages {
  readonly process: number;
  readonly address: number;
  readonly pages: number;
}

export interface Question extends Pages {
  readonly isWanted: boolean;
}

/** What the filler is told first. What is all zeros is not missing: the kernel has it. */
export function rangeMessages(memory: readonly LazyMemory[]): Buffer {
  const ranges = memory.flatMap((one) => [...missingRanges(one)]);
  const bytes = Buffer.alloc((ranges.length + 1) * MESSAGE_BYTES);
  for (const [at, range] of ranges.entries()) put(bytes, at * MESSAGE_BYTES, Kind.range, range);
  put(bytes, ranges.length * MESSAGE_BYTES, Kind.rangesEnd, { process: 0, address: 0, pages: 0 });
  return bytes;
}

function* missingRanges({ process, addresses, sizes, chunks }: LazyMemory): Generator<Pages> {
  let [begin, end] = [0, 0];
  const range = (): Pages => ({ process, address: begin, pages: (end - begin) / PAGE_BYTES });
  for (let at = 0; at < addresses.length; at++) {
    const [address = 0, size = 0, chunk = -1] = [addresses[at], sizes[at], chunks[at]];
    if (chunk < 0) continue;
    if (address !== end) {
      if (end > begin) yield range();
      begin = address;
    }
    end = address + size;
  }
  if (end > begin) yield range();
}

/** What goes before the bytes of these pages. */
export function answerHeader(pages: Pages): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES);
  put(bytes, 0, Kind.pages, pages);
  return bytes;
}

function put(into: Buffer, at: number, kind: number, { process, address, pages }: Pages): void {
  into.writeUInt32LE(kind, at);
  into.writeUInt32LE(process, at + 4);
  into.writeBigUInt64LE(BigInt(address), at + 8);
  into.writeBigUInt64LE(BigInt(pages), at + 16);
}

/** Parses questions in pieces of any size. Throws `FreezerError` `failed` for what is none. */
export class QuestionParser {
  readonly #message = Buffer.alloc(MESSAGE_BYTES);
  readonly #onQuestion: (question: Question) => void;
  #filled = 0;
  /** Whether the filler has said so. */
  isDone = false;

  constructor(onQuestion: (question: Question) => void) {
    this.#onQuestion = onQuestion;
  }

  feed(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.isDone) throw broken('it goes on after its end');
      const taken = bytes.copy(this.#message, this.#filled, at);
      at += taken;
      this.#filled = (this.#filled + taken) % MESSAGE_BYTES;
      if (this.#filled === 0) this.#obey();
    }
  }

  #obey(): void {
    const kind = this.#message.readUInt32LE(0);
    if (kind === Kind.done) this.isDone = true;
    else if (kind === Kind.wanted || kind === Kind.next) this.#onQuestion(this.#question(kind === Kind.wanted));
    else throw broken(`it says ${kind}`);
  }

  #question(isWanted: boolean): Question {
    const process = this.#message.readUInt32LE(4);
    const [address, pages] = [this.#message.readBigUInt64LE(8), this.#message.readBigUInt64LE(16)];
    if (pages === 0n || pages > MOST_PAGES) throw broken(`a question for ${pages} pages`);
    if (address % BigInt(PAGE_BYTES) !== 0n || address >= END_OF_MEMORY)
      throw broken(`the address ${address.toString(16)}`);
    return { process, address: Number(address), pages: Number(pages), isWanted };
  }
}

function broken(what: string): FreezerError {
  return new FreezerError(
    'failed',
    `What fills the memory of the job is not understood: ${what}.`,
    'Use the toolbox that belongs to this version of Floe.',
  );
}
