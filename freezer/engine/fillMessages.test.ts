import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PAGE_BYTES } from '../checkpoint/format.ts';
import type { LazyMemory } from '../checkpoint/lazyMemory.ts';
import { answerHeader, type Question, QuestionParser, rangeMessages } from './fillMessages.ts';

const [RANGE, RANGES_END, WANTED, NEXT, PAGES, DONE] = [1, 2, 3, 4, 5, 6];

function message(kind: number, pages = 1n, address = 0x7f0000001000n, process = 1002): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(kind, 0);
  bytes.writeUInt32LE(process, 4);
  bytes.writeBigUInt64LE(address, 8);
  bytes.writeBigUInt64LE(pages, 16);
  return bytes;
}

describe('questions', () => {
  test('are understood wherever the stream is cut', () => {
    const stream = Buffer.concat([message(WANTED), message(NEXT, 1024n, 0x1000n, 7), message(DONE)]);
    for (let cut = 0; cut <= stream.length; cut++) {
      const questions: Question[] = [];
      const parser = new QuestionParser((question) => questions.push(question));
      for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) parser.feed(part);
      expect(questions).toEqual([
        { process: 1002, address: 0x7f0000001000, pages: 1, isWanted: true },
        { process: 7, address: 0x1000, pages: 1024, isWanted: false },
      ]);
      expect(parser.isDone).toBe(true);
    }
  });

  test.each([
    ['no pages', message(NEXT, 0n)],
    ['more pages than an answer has', message(NEXT, 1025n)],
    ['the largest count', message(WANTED, 2n ** 64n - 1n)],
    ['an address inside a page', message(WANTED, 1n, 5n)],
    ['an address that no number holds', message(WANTED, 1n, 2n ** 63n)],
    ['an unknown message', message(99)],
    ['a message of its own', message(PAGES)],
    ['a word after the end', Buffer.concat([message(DONE), message(NEXT)])],
  ])('%s is refused', (_, stream) => {
    const parser = new QuestionParser(() => undefined);
    expect(() => parser.feed(stream)).toThrow(expect.objectContaining({ code: 'failed' }));
  });

  test('no bytes do more harm than to be refused', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (parts) => {
        const parser = new QuestionParser(({ pages }) => expect(pages).toBeLessThanOrEqual(1024));
        try {
          for (const part of parts) parser.feed(Buffer.from(part));
        } catch (error) {
          expect(error).toMatchObject({ code: 'failed' });
        }
      }),
    );
  });
});

test('an answer has the process, the address and the count of its pages', () => {
  expect(answerHeader({ process: 1002, address: 0x7f0000001000, pages: 3 })).toEqual(message(PAGES, 3n));
});

test('every page that is not all zeros is missing, and no other', () => {
  const stretch = fc.record({
    gap: fc.nat(2),
    pages: fc.integer({ min: 1, max: 5 }),
    chunk: fc.integer({ min: -1, max: 2 }),
  });
  fc.assert(
    fc.property(fc.array(stretch), (stretches) => {
      const missing: number[] = [];
      let at = 1;
      const addresses = stretches.map(({ gap, pages, chunk }) => {
        const first = at + gap;
        at = first + pages;
        if (chunk >= 0) for (let page = first; page < at; page++) missing.push(page);
        return first * PAGE_BYTES;
      });
      const memory: LazyMemory = {
        process: 7,
        addresses: Float64Array.from(addresses),
        sizes: Uint32Array.from(stretches, ({ pages }) => pages * PAGE_BYTES),
        chunks: Int32Array.from(stretches, ({ chunk }) => chunk),
        offsets: new Uint32Array(stretches.length),
      };
      expect(pagesIn(rangeMessages([memory]))).toEqual(missing);
    }),
  );
});

/** Numbers of the pages that the filler is told of, which come in runs that do not touch. */
function pagesIn(stream: Buffer): number[] {
  const pages: number[] = [];
  for (let at = 0; at < stream.length - 24; at += 24) {
    const [kind, process] = [stream.readUInt32LE(at), stream.readUInt32LE(at + 4)];
    expect([kind, process]).toEqual([RANGE, 7]);
    const first = Number(stream.readBigUInt64LE(at + 8)) / PAGE_BYTES;
    expect(first - 1).not.toBe(pages.at(-1));
    for (let page = 0; page < Number(stream.readBigUInt64LE(at + 16)); page++) pages.push(first + page);
  }
  expect(stream.readUInt32LE(stream.length - 24)).toBe(RANGES_END);
  return pages;
}
