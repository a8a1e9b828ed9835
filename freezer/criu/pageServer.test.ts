import { describe, expect, test } from 'vitest';
import { type HeaderLayout, headerLayout, PAGE_BYTES, PageServer, type PageSink } from './pageServer.ts';

const COMMAND = { add: 1, hole: 2, open: 3, openAndTell: 4, hasParent: 5, addWithFlags: 6, get: 7, close: 0x1023 };
const PROCESS = (1000n << 8n) | 1n;
const SHARED = (7n << 8n) | 2n;

function header(layout: HeaderLayout, command: number, pages = 0, address = 0n, object = PROCESS): Buffer {
  const bytes = Buffer.alloc(layout === 'wide' ? 32 : 24);
  bytes.writeUInt32LE(command >>> 0, 0);
  if (layout === 'wide') bytes.writeBigUInt64LE(BigInt(pages), 8);
  else bytes.writeUInt32LE(pages, 4);
  bytes.writeBigUInt64LE(address, bytes.length - 16);
  bytes.writeBigUInt64LE(object, bytes.length - 8);
  return bytes;
}

/** Writes down what it is told; `data` as address and copied bytes, joined where they follow each other. */
class Recorder implements PageSink {
  readonly calls: unknown[] = [];
  readonly bytes: Buffer[] = [];
  open = (object: bigint) => void this.calls.push(['open', object]);
  range = (_: bigint, address: bigint, pages: number, flags: number) =>
    void this.calls.push(['range', address, pages, flags]);
  data = (_: bigint, bytes: Buffer) => void this.bytes.push(Buffer.from(bytes));
  close = () => void this.calls.push(['close']);
}

function receive(layout: HeaderLayout, stream: Buffer, pieceBytes: number) {
  const sink = new Recorder();
  const replies: Buffer[] = [];
  const server = new PageServer(layout, sink, (bytes) => void replies.push(bytes));
  for (let at = 0; at < stream.length; at += pieceBytes) server.feed(stream.subarray(at, at + pieceBytes));
  return { calls: sink.calls, memory: Buffer.concat(sink.bytes), replies, server };
}

describe.each(['wide', 'narrow'] as const)('%s headers', (layout) => {
  const page = Buffer.alloc(PAGE_BYTES, 7);
  const twoPages = Buffer.alloc(2 * PAGE_BYTES, 9);
  const stream = Buffer.concat([
    header(layout, COMMAND.openAndTell),
    header(layout, (4 << 16) | COMMAND.addWithFlags, 1, 0x7f00_0000_0000n),
    page,
    header(layout, (2 << 16) | COMMAND.addWithFlags, 5, 0x1000n),
    header(layout, COMMAND.hole, 3, 0x2000n),
    header(layout, COMMAND.hasParent),
    header(layout, COMMAND.open, 0, 0n, SHARED),
    header(layout, COMMAND.add, 2, 0x9000n, SHARED),
    twoPages,
    header(layout, COMMAND.close),
  ]);

  test.each([1, 7, 4096, 1 << 20])('are understood in pieces of %i bytes', (pieceBytes) => {
    const { calls, memory, replies, server } = receive(layout, stream, pieceBytes);
    expect(calls).toEqual([
      ['open', PROCESS],
      ['range', 0x7f00_0000_0000n, 1, 4],
      ['range', 0x1000n, 5, 2],
      ['range', 0x2000n, 3, 1],
      ['open', SHARED],
      ['range', 0x9000n, 2, 4],
      ['close'],
    ]);
    expect(memory.equals(Buffer.concat([page, twoPages]))).toBe(true);
    expect(replies.map((reply) => reply.length)).toEqual([1, 4, 4]);
    expect(server.isClosed).toBe(true);
    expect(server.receivedBytes).toBe(3 * PAGE_BYTES);
  });

  test.each([COMMAND.get, 0, 999])('command %i is refused', (command) => {
    expect(() => receive(layout, header(layout, command), 8)).toThrow(expect.objectContaining({ code: 'dumpFailed' }));
  });

  test('a stream that ends early is not taken for a whole one', () => {
    expect(receive(layout, stream.subarray(0, -5), 4096).server.isClosed).toBe(false);
  });
});

test('a range that no process can have is refused', () => {
  const hostile = header('wide', (4 << 16) | COMMAND.addWithFlags, 2 ** 40);
  expect(() => receive('wide', hostile, 32)).toThrow(expect.objectContaining({ code: 'dumpFailed' }));
});

test.each([
  [[4, 1, 1], 'narrow'],
  [[3, 17, 1], 'narrow'],
  [[4, 2, 0], 'wide'],
  [[5, 0, 0], 'wide'],
] as const)('CRIU %j has %s headers', (version, layout) => {
  expect(headerLayout(version)).toBe(layout);
});
