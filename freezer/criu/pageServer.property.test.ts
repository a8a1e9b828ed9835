/** Any stream at all, and the memory that a whole one describes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FreezerError } from '../errors.ts';
import { type HeaderLayout, PAGE_BYTES, PageServer, type PageSink } from './pageServer.ts';

const COMMAND = { add: 1, open: 3, openAndTell: 4, hasParent: 5, addWithFlags: 6, close: 0x1023 };
const PRESENT = 4;

interface Range {
  readonly page: number;
  readonly pages: number;
  readonly flags: number;
}
interface MemoryObject {
  readonly object: bigint;
  readonly ranges: readonly Range[];
}

const range = fc.record({
  page: fc.nat({ max: 2 ** 41 - 4 }),
  pages: fc.integer({ min: 0, max: 3 }),
  flags: fc.integer({ min: 0, max: 7 }),
});
const objects: fc.Arbitrary<MemoryObject[]> = fc.uniqueArray(
  fc.record({ object: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), ranges: fc.array(range, { maxLength: 6 }) }),
  { maxLength: 4, selector: ({ object }) => object },
);
const splits = fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 20 });

function header(layout: HeaderLayout, command: number, object = 0n, { page, pages }: Partial<Range> = {}): Buffer {
  const bytes = Buffer.alloc(layout === 'wide' ? 32 : 24);
  bytes.writeUInt32LE(command >>> 0, 0);
  if (layout === 'wide') bytes.writeBigUInt64LE(BigInt(pages ?? 0), 8);
  else bytes.writeUInt32LE(pages ?? 0, 4);
  bytes.writeBigUInt64LE(BigInt((page ?? 0) * PAGE_BYTES), bytes.length - 16);
  bytes.writeBigUInt64LE(object, bytes.length - 8);
  return bytes;
}

/** Content by address, so that a byte at a wrong place is another byte. */
function contentOf({ page, pages, flags }: Range): Buffer {
  if (!(flags & PRESENT)) return Buffer.alloc(0);
  return Buffer.concat(Array.from({ length: pages }, (_, at) => Buffer.alloc(PAGE_BYTES, `${page + at} `)));
}

function encode(layout: HeaderLayout, memory: readonly MemoryObject[]): Buffer {
  const body = memory.flatMap(({ object, ranges }) => [
    header(layout, COMMAND.openAndTell, object),
    ...ranges.flatMap((each) => [
      header(layout, (each.flags << 16) | COMMAND.addWithFlags, object, each),
      contentOf(each),
    ]),
  ]);
  return Buffer.concat([...body, header(layout, COMMAND.close)]);
}

/** Puts memory together again; counts what it was told. */
class Collector implements PageSink {
  readonly memory: { object: bigint; ranges: Range[]; content: Buffer[] }[] = [];
  calls = 0;
  open(object: bigint): void {
    this.calls++;
    this.memory.push({ object, ranges: [], content: [] });
  }
  range(_: bigint, address: bigint, pages: number, flags: number): void {
    this.calls++;
    this.memory.at(-1)?.ranges.push({ page: Number(address / BigInt(PAGE_BYTES)), pages, flags });
  }
  data(_: bigint, bytes: Buffer): void {
    this.calls++;
    this.memory.at(-1)?.content.push(Buffer.from(bytes));
  }
  close(): void {
    this.calls++;
  }
}

function feed(layout: HeaderLayout, stream: Buffer, sizes: readonly number[]) {
  const sink = new Collector();
  let replies = 0;
  const server = new PageServer(layout, sink, () => replies++);
  for (let [at, turn] = [0, 0]; at < stream.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    server.feed(stream.subarray(at, at + size));
    at += size;
  }
  return { sink, server, replies };
}

/** Whatever it was fed, it has kept its word: it either goes on or says `dumpFailed`, and tells no more than it was told. */
function survives(layout: HeaderLayout, stream: Buffer, sizes: readonly number[]): void {
  const sink = new Collector();
  const server = new PageServer(layout, sink, () => undefined);
  try {
    for (let [at, turn] = [0, 0]; at < stream.length; turn++) {
      const size = sizes[turn % sizes.length] ?? 1;
      server.feed(stream.subarray(at, at + size));
      at += size;
    }
  } catch (error) {
    expect(error).toBeInstanceOf(FreezerError);
    expect(error).toMatchObject({ code: 'dumpFailed' });
  }
  expect(server.receivedBytes).toBeLessThanOrEqual(stream.length);
  expect(sink.calls).toBeLessThanOrEqual(stream.length);
}

describe.each(['wide', 'narrow'] as const)('with %s headers', (layout) => {
  test('memory comes as it was sent, however the stream is split', () => {
    fc.assert(
      fc.property(objects, splits, (memory, sizes) => {
        const { sink, server, replies } = feed(layout, encode(layout, memory), sizes);
        expect(sink.memory.map(({ object, ranges }) => ({ object, ranges }))).toEqual(memory);
        for (const [at, { ranges }] of memory.entries()) {
          const content = Buffer.concat(sink.memory[at]?.content ?? []);
          expect(content.equals(Buffer.concat(ranges.map(contentOf)))).toBe(true);
        }
        expect(replies).toBe(memory.length + 1);
        expect(server.isClosed).toBe(true);
      }),
    );
  });

  test('a stream that ends anywhere but at its end is not whole, and no error', () => {
    fc.assert(
      fc.property(objects, splits, fc.double({ min: 0, max: 1, noNaN: true }), (memory, sizes, where) => {
        const stream = encode(layout, memory);
        const { server } = feed(layout, stream.subarray(0, Math.floor(where * (stream.length - 1))), sizes);
        expect(server.isClosed).toBe(false);
      }),
    );
  });

  test('flipped bits are refused or are other memory', () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 7 })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(objects, splits, flips, (memory, sizes, bits) => {
        const stream = encode(layout, memory);
        for (const [where, bit] of bits) {
          const at = where % stream.length;
          stream.writeUInt8(stream.readUInt8(at) ^ (1 << bit), at);
        }
        survives(layout, stream, sizes);
      }),
      { numRuns: 500 },
    );
  });

  test('anything at all is refused or understood', () => {
    const command = fc.constantFrom(...Object.values(COMMAND), 2, 0x1024);
    const word = fc.oneof(
      command,
      fc.tuple(command, fc.nat({ max: 0xffff })).map(([low, high]) => (high << 16) | low),
      fc.integer(),
    );
    const number = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constantFrom(0n, 1n, 257n, 2n ** 63n));
    const hostile = fc.array(
      fc.tuple(word, number, number, number).map(([command, pages, address, object]) => {
        const bytes = header(layout, command, object);
        if (layout === 'wide') bytes.writeBigUInt64LE(pages, 8);
        else bytes.writeUInt32LE(Number(pages & 0xffffffffn), 4);
        bytes.writeBigUInt64LE(address, bytes.length - 16);
        return bytes;
      }),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(hostile, splits, (headers, sizes) => survives(layout, Buffer.concat(headers), sizes)),
      { numRuns: 1000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), splits, (bytes, sizes) =>
        survives(layout, Buffer.from(bytes), sizes),
      ),
    );
  });

  const opened = header(layout, COMMAND.open, 257n);
  const add = (pages: number, address: bigint, flags = PRESENT, object = 257n) => {
    const bytes = header(layout, (flags << 16) | COMMAND.addWithFlags, object, { pages });
    bytes.writeBigUInt64LE(address, bytes.length - 16);
    return bytes;
  };

  test.each<[string, Buffer[]]>([
    ['pages before any object', [add(1, 0n)]],
    ['pages of another object', [opened, add(1, 0n, PRESENT, 513n)]],
    ['pages after the end', [opened, header(layout, COMMAND.close), add(1, 0n)]],
    ['an object for the second time', [opened, header(layout, COMMAND.open, 513n), opened]],
    ['a place inside a page', [opened, add(1, 4097n)]],
    ['a place beyond all memory', [opened, add(1, 2n ** 53n)]],
    ['a range that goes beyond all memory', [opened, add(2, 2n ** 53n - 4096n)]],
    ['flags that mean nothing', [opened, add(1, 0n, 8)]],
  ])('%s are refused', (_, headers) => {
    expect(() => feed(layout, Buffer.concat(headers), [4096])).toThrow(expect.objectContaining({ code: 'dumpFailed' }));
  });
});
