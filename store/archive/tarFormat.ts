/**
 * The blocks of a tar archive: POSIX ustar with pax records, sparse files as GNU tar's format 1.0 (info tar, "Tar Internals").
 *
 * Of our own, because names are bytes: the `tar` and `tar-stream` packages decode pax records as UTF-8, which loses those that are not.
 */
import { type Bytes, bytesOf } from './beneath.ts';
import { ArchiveFailure } from './failure.ts';

export const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
/** What eleven octal digits hold. */
const LARGEST_OCTAL = 0o77777777777;

export type EntryType = 'file' | 'folder' | 'symlink' | 'link';

export interface HeaderToWrite {
  readonly path: Bytes;
  readonly type: EntryType;
  readonly mode: number;
  readonly modifiedAtNs: bigint;
  /** What follows the header: content, and for a sparse file its map, too. */
  readonly sizeBytes: number;
  /** Of a link. */
  readonly target?: Bytes;
  /** Of a sparse file: its size with holes. */
  readonly realBytes?: number;
}

const TYPE_FLAGS = { file: '0', link: '1', symlink: '2', folder: '5' } as const;

/** The blocks before an entry's content. Owners are not kept: all is root's. */
export function encodeHeader(entry: HeaderToWrite): Buffer {
  const { type, sizeBytes, modifiedAtNs, target = '', realBytes } = entry;
  const path = type === 'folder' ? `${entry.path}/` : entry.path;
  // To the microsecond: what Node sets times with is hardly more precise.
  const microseconds = (modifiedAtNs + 500n) / 1000n;
  const seconds = Number(microseconds / 1_000_000n);
  const isWholeSecond = microseconds % 1_000_000n === 0n && seconds >= 0 && seconds <= LARGEST_OCTAL;
  const records: [string, Bytes][] = [];
  if (realBytes !== undefined) {
    records.push(['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.name', path]);
    records.push(['GNU.sparse.realsize', String(realBytes)]);
  } else if (path.length > NAME_BYTES) records.push(['path', path]);
  if (target.length > NAME_BYTES) records.push(['linkpath', target]);
  if (sizeBytes > LARGEST_OCTAL) records.push(['size', String(sizeBytes)]);
  if (!isWholeSecond) records.push(['mtime', decimalSeconds(microseconds)]);
  if (records.some(([, value]) => !isUtf8(value))) records.unshift(['hdrcharset', 'BINARY']);
  const block = encodeBlock({
    name: realBytes === undefined ? path : sparseName(path),
    mode: entry.mode,
    sizeBytes: Math.min(sizeBytes, LARGEST_OCTAL),
    seconds: Math.min(Math.max(seconds, 0), LARGEST_OCTAL),
    flag: TYPE_FLAGS[type],
    target,
  });
  return records.length === 0 ? block : Buffer.concat([encodePax(records), block]);
}

/** What a reader that knows no sparse files calls it. */
function sparseName(path: Bytes): Bytes {
  return `GNUSparseFile.0/${path.slice(path.lastIndexOf('/') + 1)}`;
}

function decimalSeconds(microseconds: bigint): string {
  const [sign, size] = microseconds < 0n ? ['-', -microseconds] : ['', microseconds];
  return `${sign}${size / 1_000_000n}.${String(size % 1_000_000n).padStart(6, '0')}`;
}

function isUtf8(bytes: Bytes): boolean {
  return bytesOf(Buffer.from(bytes, 'latin1').toString('utf8')) === bytes;
}

function encodePax(records: readonly [string, Bytes][]): Buffer {
  const body = Buffer.from(records.map(([key, value]) => encodeRecord(`${key}=${value}\n`)).join(''), 'latin1');
  const header = { name: 'PaxHeader', mode: 0o644, sizeBytes: body.length, seconds: 0, flag: 'x', target: '' };
  return Buffer.concat([encodeBlock(header), body, padding(body.length)]);
}

/** A record begins with its own length, that number included. */
function encodeRecord(content: Bytes): Bytes {
  let length = content.length + 2;
  while (`${length} ${content}`.length !== length) length += 1;
  return `${length} ${content}`;
}

interface Block {
  readonly name: Bytes;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly seconds: number;
  readonly flag: string;
  readonly target: Bytes;
}

function encodeBlock({ name, mode, sizeBytes, seconds, flag, target }: Block): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, digits: number) =>
    block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  block.write(name.slice(0, NAME_BYTES), 0, 'latin1');
  octal(mode & 0o777, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(sizeBytes, 124, 11);
  octal(seconds, 136, 11);
  block.write(flag, 156, 'latin1');
  block.write(target.slice(0, NAME_BYTES), 157, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  octal(checksum(block), 148, 6);
  block.write(' ', 155, 'latin1');
  return block;
}

/** Of the block with its checksum taken for spaces. */
function checksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK_BYTES; at += 1) if (at < 148 || at >= 156) sum += block[at] as number;
  return sum;
}

/** The zeros after so many bytes, up to the end of their last block. */
export function padding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

export const ARCHIVE_END: Buffer = Buffer.alloc(2 * BLOCK_BYTES);

export type Range = readonly [start: number, end: number];

/** The map in front of a sparse file's content. A hole up to the end is said by an empty range there, as GNU tar does. */
export function encodeMap(ranges: readonly Range[], realBytes: number): Buffer {
  const whole = ranges.at(-1)?.[1] === realBytes ? ranges : [...ranges, [realBytes, realBytes] as const];
  const lines = [whole.length, ...whole.flatMap(([start, end]) => [start, end - start])];
  const text = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  return Buffer.concat([text, padding(text.length)]);
}

/** A header block as it stands. */
export interface RawHeader {
  readonly name: Bytes;
  readonly target: Bytes;
  readonly flag: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly seconds: number;
}

/** Null for a block of zeros. Throws `damaged` for what is no header. */
export function decodeBlock(block: Buffer): RawHeader | null {
  if (block[0] === 0 && block.equals(ARCHIVE_END.subarray(0, BLOCK_BYTES))) return null;
  if (checksum(block) !== readNumber(block, 148, 8)) throw damaged('a header has another checksum');
  // GNU's own format has times where POSIX has the beginning of a long name.
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? readText(block, 345, 155) : '';
  const name = readText(block, 0, NAME_BYTES);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    target: readText(block, 157, NAME_BYTES),
    flag: block.toString('latin1', 156, 157),
    mode: readNumber(block, 100, 8),
    sizeBytes: readNumber(block, 124, 12),
    seconds: readNumber(block, 136, 12),
  };
}

function readText(block: Buffer, at: number, length: number): Bytes {
  const text = block.toString('latin1', at, at + length);
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

/** Octal digits, or, where the first bit is set, a binary number of base 256. */
function readNumber(block: Buffer, at: number, length: number): number {
  const first = block[at] as number;
  if (first & 0x80) {
    const digits = BigInt(`0x${block.toString('hex', at, at + length)}`) & ((1n << BigInt(8 * length - 1)) - 1n);
    const value = first & 0x40 ? digits - (1n << BigInt(8 * length - 1)) : digits;
    return sound(Number(value));
  }
  const text = readText(block, at, length).trim();
  if (!/^[0-7]*$/.test(text)) throw damaged('a header has a number that is none');
  return sound(Number.parseInt(text || '0', 8));
}

function sound(value: number): number {
  if (!Number.isSafeInteger(value)) throw damaged('a header has a number that is too large');
  return value;
}

/** The records of a pax header. */
export function decodePax(body: Buffer): Map<string, Bytes> {
  const text = body.toString('latin1');
  const records = new Map<string, Bytes>();
  for (let at = 0; at < text.length; ) {
    const space = text.indexOf(' ', at);
    const digits = text.slice(at, space);
    const end = at + Number(digits);
    const equals = text.indexOf('=', space);
    const isSound = /^[1-9]\d{0,8}$/.test(digits) && equals > space && equals < end && text[end - 1] === '\n';
    if (!isSound || end > text.length) throw damaged('an extended header has a broken record');
    records.set(text.slice(space + 1, equals), text.slice(equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** A whole number of a pax record or of a sparse file's map. */
export function decodeWhole(digits: string): number {
  if (!/^\d{1,16}$/.test(digits)) throw damaged('an extended header has a number that is none');
  return sound(Number(digits));
}

export function damaged(what: string): ArchiveFailure {
  return new ArchiveFailure('damaged', `The archive is broken: ${what}.`, 'Store the folder anew.');
}
