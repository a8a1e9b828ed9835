/**
 * Archives as an attacker makes them: any name, type, mode and size, true or not. Format: POSIX.1-1988 ustar and the
 * extended headers of POSIX.1-2001, tar(5).
 */
import { zstdCompressSync } from 'node:zlib';

const BLOCK = 512;
const MOST_RLE_BYTES = 128 * 1024;

export const Type = {
  file: '0',
  hardLink: '1',
  symlink: '2',
  characterDevice: '3',
  blockDevice: '4',
  directory: '5',
  fifo: '6',
  gnuSparse: 'S',
  gnuLongName: 'L',
  pax: 'x',
} as const;

export interface Entry {
  /** A buffer for bytes that are no UTF-8. */
  readonly name: string | Buffer;
  /** Default a file. */
  readonly type?: (typeof Type)[keyof typeof Type];
  readonly mode?: number;
  readonly link?: string;
  readonly content?: string | Buffer;
  /** What the header says; default the content's. */
  readonly sizeBytes?: number;
  /** Default true; else the header's checksum is wrong. */
  readonly hasChecksum?: boolean;
}

/** One entry: a header, and the content padded. */
export function entry({ name, type = Type.file, mode = 0o644, link = '', ...more }: Entry): Buffer {
  const content = Buffer.from(more.content ?? '');
  const header = Buffer.alloc(BLOCK);
  const put = (value: string | Buffer, at: number, most: number) => {
    Buffer.from(value).subarray(0, most).copy(header, at);
  };
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0');
  put(name, 0, 100);
  put(octal(mode, 7), 100, 8);
  put(octal(0, 7), 108, 8);
  put(octal(0, 7), 116, 8);
  put(sizeField(more.sizeBytes ?? content.length), 124, 12);
  put(octal(0, 11), 136, 12);
  put(' '.repeat(8), 148, 8);
  put(type, 156, 1);
  put(link, 157, 100);
  put('ustar\u000000', 257, 8);
  put(octal(1, 7), 329, 8); // device numbers of /dev/mem and /dev/ram1
  put(octal(1, 7), 337, 8);
  const sum = header.reduce((total, byte) => total + byte, more.hasChecksum === false ? 1 : 0);
  put(`${octal(sum, 6)}\0 `, 148, 8);
  return Buffer.concat([header, content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);
}

/** Sizes that octal digits do not hold are numbers of base 256. */
function sizeField(size: number): Buffer {
  if (size >= 0 && size < 8 ** 11) return Buffer.from(size.toString(8).padStart(11, '0'));
  const field = Buffer.alloc(12, size < 0 ? 0xff : 0);
  field.writeBigInt64BE(BigInt(size), 4);
  field[0] = size < 0 ? 0xff : 0x80;
  return field;
}

/** An extended header for the entry that follows it: `length name=value\n`. */
export function pax(records: Readonly<Record<string, string>>): Buffer {
  const lines = Object.entries(records).map(([name, value]) => {
    const rest = ` ${name}=${value}\n`;
    const guess = Buffer.byteLength(rest) + String(Buffer.byteLength(rest)).length;
    return `${String(guess).length + Buffer.byteLength(rest)}${rest}`;
  });
  return entry({ name: 'pax', type: Type.pax, content: lines.join('') });
}

/** The archive of these entries, as Floe stores one. */
export function archive(...entries: readonly (Entry | Buffer)[]): Buffer {
  const blocks = entries.map((each) => (Buffer.isBuffer(each) ? each : entry(each)));
  return zstdCompressSync(Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]));
}

/**
 * One zstd frame (RFC 8878) of `head` and then as many zeros as wanted: four bytes in it stand for 128 KiB of them.
 */
export function bomb(head: Buffer, zeroBytes: number): Buffer {
  // A window of 8 MiB; no size, no checksum.
  const frame: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68])];
  for (let at = 0; at < head.length; at += MOST_RLE_BYTES) {
    const raw = head.subarray(at, at + MOST_RLE_BYTES);
    frame.push(blockHeader(0, raw.length, false), raw);
  }
  const zeros = Buffer.concat([blockHeader(1, MOST_RLE_BYTES, false), Buffer.alloc(1)]);
  const count = Math.ceil(zeroBytes / MOST_RLE_BYTES);
  frame.push(Buffer.alloc(count * zeros.length, zeros), blockHeader(1, MOST_RLE_BYTES, true), Buffer.alloc(1));
  return Buffer.concat(frame);
}

/** `type`: 0 raw, 1 a byte that is repeated. */
function blockHeader(type: 0 | 1, sizeBytes: number, isLast: boolean): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE((isLast ? 1 : 0) | (type << 1) | (sizeBytes << 3), 0, 3);
  return header;
}
