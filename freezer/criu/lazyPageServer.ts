/**
 * The answering side of CRIU's page-server protocol, as `criu lazy-pages --page-server --ps-socket FD` speaks it (criu/uffd.c,
 * criu/page-xfer.c): the daemon asks for pages of a process, and is through when it says so.
 *
 * The headers are those of `pageServer.ts`. A question is the command GET with pages, address, and the process's id as it is. The
 * answer is the command ADD_F with the flag PRESENT, the same id and address, a count of pages, and these. Answers must come in the
 * order of the questions. An answer may have fewer pages than were asked for, and then the daemon asks again, but not more,
 * and not none.
 */
import { FreezerError } from '../errors.ts';
import { type HeaderLayout, PageFlags } from './pageServer.ts';

const Command = { addWithFlags: 6, get: 7, close: 0x1023, forceClose: 0x1024 } as const;

/** The daemon asks for 4 MiB at most, by `MAX_XFER_LEN` of criu/uffd.c. */
export const MOST_PAGES_ASKED = 1024;

/** Pages of a process, by its id in the container. */
export interface Question {
  readonly process: number;
  readonly address: bigint;
  readonly pages: number;
}

/** Parses questions in pieces of any size. Throws `FreezerError` `failed` for what is not the protocol. */
export class QuestionParser {
  readonly #layout: HeaderLayout;
  readonly #header: Buffer;
  readonly #onQuestion: (question: Question) => void;
  #headerFill = 0;
  /** Whether the daemon has said that it is through; it waits for `closeAnswer` then, and nothing may follow. */
  isClosed = false;

  constructor(layout: HeaderLayout, onQuestion: (question: Question) => void) {
    this.#layout = layout;
    this.#header = Buffer.alloc(headerBytes(layout));
    this.#onQuestion = onQuestion;
  }

  feed(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.isClosed) throw broken('it goes on after its end');
      const taken = bytes.copy(this.#header, this.#headerFill, at);
      at += taken;
      this.#headerFill = (this.#headerFill + taken) % this.#header.length;
      if (this.#headerFill === 0) this.#obey();
    }
  }

  #obey(): void {
    const command = this.#header.readUInt32LE(0);
    if (command === Command.get) this.#onQuestion(this.#question());
    else if (command === Command.close || command === Command.forceClose) this.isClosed = true;
    else throw broken(`unknown command ${command}`);
  }

  #question(): Question {
    const isWide = this.#layout === 'wide';
    const pages = isWide ? this.#header.readBigUInt64LE(8) : BigInt(this.#header.readUInt32LE(4));
    const address = this.#header.readBigUInt64LE(isWide ? 16 : 8);
    const process = this.#header.readBigUInt64LE(isWide ? 24 : 16);
    if (pages === 0n || pages > MOST_PAGES_ASKED) throw broken(`a question for ${pages} pages`);
    if (address % 4096n !== 0n) throw broken(`an address inside a page, ${address.toString(16)}`);
    if (process > 0x7fffffffn) throw broken(`a process ${process}`);
    return { process: Number(process), address, pages: Number(pages) };
  }
}

/** What goes before `pages` pages of data. */
export function answerHeader(layout: HeaderLayout, { process, address }: Question, pages: number): Buffer {
  const header = Buffer.alloc(headerBytes(layout));
  const isWide = layout === 'wide';
  header.writeUInt32LE(((PageFlags.present << 16) | Command.addWithFlags) >>> 0, 0);
  if (isWide) header.writeBigUInt64LE(BigInt(pages), 8);
  else header.writeUInt32LE(pages, 4);
  header.writeBigUInt64LE(address, isWide ? 16 : 8);
  header.writeBigUInt64LE(BigInt(process), isWide ? 24 : 16);
  return header;
}

/** What the daemon waits for once it is through: an int32, zero for success. */
export const closeAnswer = Buffer.alloc(4);

function headerBytes(layout: HeaderLayout): number {
  return layout === 'wide' ? 32 : 24;
}

function broken(what: string): FreezerError {
  return new FreezerError(
    'failed',
    `CRIU's questions for pages are not understood: ${what}.`,
    'Use the toolbox that belongs to this version of Floe.',
  );
}
