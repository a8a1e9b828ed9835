import { describe, expect, test } from 'vitest';
import { answerHeader, type Question, QuestionParser } from './lazyPageServer.ts';
import type { HeaderLayout } from './pageServer.ts';

const GET = 7;
const FORCE_CLOSE = 0x1024;

function header(layout: HeaderLayout, command: number, pages = 1n, address = 0x7f0000001000n, process = 1002n): Buffer {
  const wide = Buffer.alloc(32);
  wide.writeUInt32LE(command, 0);
  wide.writeBigUInt64LE(pages, 8);
  wide.writeBigUInt64LE(address, 16);
  wide.writeBigUInt64LE(process, 24);
  if (layout === 'wide') return wide;
  return Buffer.concat([wide.subarray(0, 4), wide.subarray(8, 12), wide.subarray(16)]);
}

describe.each(['wide', 'narrow'] as const)('%s headers', (layout) => {
  test('questions are understood wherever the stream is cut', () => {
    const stream = Buffer.concat([
      header(layout, GET),
      header(layout, GET, 1024n, 0x1000n, 7n),
      header(layout, FORCE_CLOSE),
    ]);
    for (let cut = 0; cut <= stream.length; cut++) {
      const questions: Question[] = [];
      const parser = new QuestionParser(layout, (question) => questions.push(question));
      for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) parser.feed(part);
      expect(questions).toEqual([
        { process: 1002, address: 0x7f0000001000n, pages: 1 },
        { process: 7, address: 0x1000n, pages: 1024 },
      ]);
      expect(parser.isClosed).toBe(true);
    }
  });

  test.each([
    ['no pages', header(layout, GET, 0n)],
    ['more pages than CRIU ever wants', header(layout, GET, 1025n)],
    ['the largest count', header(layout, GET, layout === 'wide' ? 2n ** 64n - 1n : 2n ** 32n - 1n)],
    ['an address inside a page', header(layout, GET, 1n, 5n)],
    ['a process that cannot be', header(layout, GET, 1n, 0n, 2n ** 63n)],
    ['an unknown command', header(layout, 99)],
    ['a word after the end', Buffer.concat([header(layout, FORCE_CLOSE), header(layout, GET)])],
  ])('%s is refused', (_, stream) => {
    const parser = new QuestionParser(layout, () => undefined);
    expect(() => parser.feed(stream)).toThrow(expect.objectContaining({ code: 'failed' }));
  });

  test('an answer has the flags, the address and the process of its question', () => {
    const answer = answerHeader(layout, { process: 1002, address: 0x7f0000001000n, pages: 4 }, 3);
    expect(answer).toEqual(header(layout, 0x40006, 3n));
  });
});
