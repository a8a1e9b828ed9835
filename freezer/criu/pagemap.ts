/**
 * CRIU's pagemap images (images/pagemap.proto): which pages of a process or shared memory object are in `pages-<id>.img`,
 * in the order in which they stand there.
 */

import { FreezerError } from '../errors.ts';
import { PageFlags } from './pageServer.ts';

/** Address, number of pages, flags (see `PageFlags`). */
export type PageRange = readonly [address: bigint, pages: number, flags: number];

const IMAGE_MAGIC = 0x54564319;
const PAGEMAP_MAGIC = 0x56084025;

/** `pagemap-<pid>.img` for a process, `pagemap-shmem-<id>.img` for shared memory. */
export function pagemapName(object: bigint): string {
  return `${(object & 0xffn) === 1n ? 'pagemap' : 'pagemap-shmem'}-${object >> 8n}.img`;
}

/** The object whose pagemap has this name; null for another image. */
export function pagemapObject(name: string): bigint | null {
  const [, shared, id] = /^pagemap-(shmem-)?(\d+)\.img$/.exec(name) ?? [];
  return id === undefined ? null : (BigInt(id) << 8n) | (shared ? 2n : 1n);
}

export function pagesName(pagesId: number): string {
  return `pages-${pagesId}.img`;
}

export function isPagesName(name: string): boolean {
  return /^pages-\d+\.img$/.test(name);
}

export function encodePagemap(pagesId: number, ranges: readonly PageRange[]): Buffer {
  const magic = Buffer.alloc(8);
  magic.writeUInt32LE(IMAGE_MAGIC, 0);
  magic.writeUInt32LE(PAGEMAP_MAGIC, 4);
  const head = message([[1, BigInt(pagesId)]]);
  const entries = ranges.map(([address, pages, flags]) =>
    // Field 2 is the 32-bit count that versions before 4.2 read; 5 is its 64-bit successor.
    message([
      [1, address],
      [2, BigInt(pages >>> 0)],
      [4, BigInt(flags)],
      [5, BigInt(pages)],
    ]),
  );
  return Buffer.concat([magic, head, ...entries]);
}

/** What a pagemap says. Throws `FreezerError` `dumpFailed` for bytes that are none. */
export function decodePagemap(bytes: Buffer): { pagesId: number; ranges: PageRange[] } {
  const isPagemap =
    bytes.length >= 8 && bytes.readUInt32LE(0) === IMAGE_MAGIC && bytes.readUInt32LE(4) === PAGEMAP_MAGIC;
  const [head, ...entries] = isPagemap ? messagesIn(bytes, 8) : [];
  const pagesId = head?.get(1);
  if (pagesId === undefined) throw broken();
  const ranges = entries.map((entry): PageRange => {
    const [address, pages] = [entry.get(1), entry.get(5) ?? entry.get(2)];
    if (address === undefined || pages === undefined) throw broken();
    // Versions without flags say of pages that are elsewhere that they are `in_parent`.
    const flags = entry.get(4) ?? BigInt(entry.get(3) ? PageFlags.parent : PageFlags.present);
    return [address, Number(pages), Number(flags)];
  });
  return { pagesId: Number(pagesId), ranges };
}

function messagesIn(bytes: Buffer, from: number): Map<number, bigint>[] {
  const messages: Map<number, bigint>[] = [];
  for (let at = from; at < bytes.length; ) {
    const begin = at + 4;
    const end = begin <= bytes.length ? begin + bytes.readUInt32LE(at) : Number.POSITIVE_INFINITY;
    if (end > bytes.length) throw broken();
    messages.push(fieldsOf(bytes.subarray(begin, end)));
    at = end;
  }
  return messages;
}

/** Of a message that has unsigned integers only. */
function fieldsOf(message: Buffer): Map<number, bigint> {
  const fields = new Map<number, bigint>();
  let at = 0;
  const next = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined) throw broken();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw broken();
  };
  while (at < message.length) {
    const key = next();
    if (key & 7n) throw broken();
    fields.set(Number(key >> 3n), next());
  }
  return fields;
}

function broken(): FreezerError {
  return new FreezerError(
    'dumpFailed',
    "CRIU's pagemap is not understood.",
    'Use the toolbox that belongs to this version of Floe.',
  );
}

/** A protobuf message of unsigned integers, behind its length. */
function message(fields: readonly [field: number, value: bigint][]): Buffer {
  const body = fields.flatMap(([field, value]) => [field << 3, ...varint(value)]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return Buffer.concat([length, Buffer.from(body)]);
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}
