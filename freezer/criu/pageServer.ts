/**
 * The receiving side of CRIU's page-server protocol, as `criu dump --page-server --ps-socket FD` speaks it
 * (criu/page-xfer.c). Memory pages arrive in one stream; nothing is written to disk by CRIU but small images.
 *
 * Every command is a little-endian header. From CRIU 4.2 on it has 32 bytes, `u32 command; u32 pad; u64 pages; u64 address;
 * u64 object`; before it has 24, `u32 command; u32 pages; u64 address; u64 object`. The upper half of `command` holds flags.
 */
import { FreezerError } from '../errors.ts';

export const PAGE_BYTES = 4096;

export const PageFlags = { parent: 1, lazy: 2, present: 4 } as const;

const Command = {
  add: 1,
  hole: 2,
  open: 3,
  openAndTell: 4,
  hasParent: 5,
  addWithFlags: 6,
  close: 0x1023,
  forceClose: 0x1024,
} as const;

/** No process maps more than 2^47 bytes; a larger count is a broken or hostile stream. */
const MOST_PAGES = 2 ** 35;
/** No kernel maps anything beyond for a program. Up to here a number holds each byte's address. */
const END_OF_MEMORY = 2n ** 53n;
const ALL_FLAGS = PageFlags.parent | PageFlags.lazy | PageFlags.present;

/**
 * What the stream describes. `object` is CRIU's `id << 8 | type`, type 1 a process, 2 shared memory. None is opened twice; ranges
 * are of the one that was opened last, and of whole pages.
 * Bytes given to `data` are borrowed: they are overwritten after the call returns.
 */
export interface PageSink<Bytes = Buffer> {
  open(object: bigint): void;
  range(object: bigint, address: bigint, pages: number, flags: number): void;
  data(address: bigint, bytes: Bytes): void;
  close(): void;
}

export type HeaderLayout = 'wide' | 'narrow';

export function headerLayout(version: readonly [number, number, number]): HeaderLayout {
  return version[0] > 4 || (version[0] === 4 && version[1] >= 2) ? 'wide' : 'narrow';
}

/** Parses the stream in pieces of any size. Throws `FreezerError` `dumpFailed` for what is not the protocol. */
export class PageServer {
  readonly #sink: PageSink;
  readonly #reply: (bytes: Buffer) => void;
  readonly #layout: HeaderLayout;
  readonly #header: Buffer;
  #headerFill = 0;
  readonly #opened = new Set<bigint>();
  #object: bigint | null = null;
  #address = 0n;
  #dataLeft = 0;
  /** Memory bytes received. */
  receivedBytes = 0;
  /** Whether CRIU said that it is through. */
  isClosed = false;

  constructor(layout: HeaderLayout, sink: PageSink, reply: (bytes: Buffer) => void) {
    this.#layout = layout;
    this.#sink = sink;
    this.#reply = reply;
    this.#header = Buffer.alloc(layout === 'wide' ? 32 : 24);
  }

  feed(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      at += this.#dataLeft > 0 ? this.#takeData(bytes.subarray(at)) : this.#takeHeader(bytes.subarray(at));
    }
  }

  #takeData(bytes: Buffer): number {
    const taken = Math.min(this.#dataLeft, bytes.length);
    this.#sink.data(this.#address, bytes.subarray(0, taken));
    this.#address += BigInt(taken);
    this.#dataLeft -= taken;
    this.receivedBytes += taken;
    return taken;
  }

  #takeHeader(bytes: Buffer): number {
    const taken = bytes.copy(this.#header, this.#headerFill, 0, this.#header.length - this.#headerFill);
    this.#headerFill += taken;
    if (this.#headerFill === this.#header.length) {
      this.#headerFill = 0;
      this.#obey();
    }
    return taken;
  }

  #obey(): void {
    if (this.isClosed) throw broken('it goes on after its end');
    const word = this.#header.readUInt32LE(0);
    const command = word & 0xffff;
    const object = this.#header.readBigUInt64LE(this.#header.length - 8);
    switch (command) {
      case Command.open:
        this.#open(object);
        break;
      case Command.openAndTell:
        this.#open(object);
        this.#reply(Buffer.from([0]));
        break;
      case Command.hasParent:
        this.#reply(Buffer.alloc(4));
        break;
      case Command.add:
        this.#range(object, PageFlags.present);
        break;
      case Command.hole:
        this.#range(object, PageFlags.parent);
        break;
      case Command.addWithFlags:
        this.#range(object, word >>> 16);
        break;
      case Command.close:
      case Command.forceClose:
        this.isClosed = true;
        this.#object = null;
        this.#sink.close();
        this.#reply(Buffer.alloc(4));
        break;
      default:
        throw broken(`unknown command ${command}`);
    }
  }

  #open(object: bigint): void {
    if (this.#opened.has(object)) throw broken(`object ${object} is opened twice`);
    this.#opened.add(object);
    this.#object = object;
    this.#sink.open(object);
  }

  #range(object: bigint, flags: number): void {
    if (object !== this.#object) throw broken(`pages of object ${object}, which is not open`);
    if (flags > ALL_FLAGS) throw broken(`flags ${flags}`);
    const isWide = this.#layout === 'wide';
    const pages = isWide ? Number(this.#header.readBigUInt64LE(8)) : this.#header.readUInt32LE(4);
    const address = this.#header.readBigUInt64LE(isWide ? 16 : 8);
    const flaw = flawOfRange(address, pages);
    if (flaw) throw broken(flaw);
    this.#sink.range(object, address, pages, flags);
    this.#address = address;
    this.#dataLeft = flags & PageFlags.present ? pages * PAGE_BYTES : 0;
  }
}

/** What is wrong with a range of pages, or null. */
export function flawOfRange(address: bigint, pages: number): string | null {
  if (pages > MOST_PAGES) return `a range of ${pages} pages`;
  const isSound = address % BigInt(PAGE_BYTES) === 0n && address + BigInt(pages * PAGE_BYTES) <= END_OF_MEMORY;
  return isSound ? null : `${pages} pages at ${address.toString(16)}`;
}

function broken(what: string): FreezerError {
  return new FreezerError(
    'dumpFailed',
    `CRIU's page stream is not understood: ${what}.`,
    'Use the toolbox that belongs to this version of Floe.',
  );
}
