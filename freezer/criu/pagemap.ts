/**
 * CRIU's pagemap images (images/pagemap.proto): which pages of a process or shared memory object are in `pages-<id>.img`,
 * in the order in which they stand there.
 */

/** Address, number of pages, flags (see `PageFlags`). */
export type PageRange = readonly [address: bigint, pages: number, flags: number];

const IMAGE_MAGIC = 0x54564319;
const PAGEMAP_MAGIC = 0x56084025;

/** `pagemap-<pid>.img` for a process, `pagemap-shmem-<id>.img` for shared memory. */
export function pagemapName(object: bigint): string {
  return `${(object & 0xffn) === 1n ? 'pagemap' : 'pagemap-shmem'}-${object >> 8n}.img`;
}

export function pagesName(pagesId: number): string {
  return `pages-${pagesId}.img`;
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
