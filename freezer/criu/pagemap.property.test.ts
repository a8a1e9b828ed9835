/** What is encoded can be decoded again, by protobuf's own rules. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FreezerError } from '../errors.ts';
import { decodePagemap, encodePagemap, type PageRange } from './pagemap.ts';

/** Fields of unsigned integers by number. */
type Message = Map<number, bigint>;

function decode(bytes: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 8; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    at += 4;
    const message: Message = new Map();
    while (at < end) {
      const [key, afterKey] = varint(bytes, at);
      expect(key & 7n).toBe(0n);
      const [value, afterValue] = varint(bytes, afterKey);
      message.set(Number(key >> 3n), value);
      at = afterValue;
    }
    expect(at).toBe(end);
    messages.push(message);
  }
  return messages;
}

function varint(bytes: Buffer, start: number): [value: bigint, end: number] {
  let value = 0n;
  for (let at = start; ; at++) {
    const byte = bytes.readUInt8(at);
    value |= BigInt(byte & 0x7f) << BigInt(7 * (at - start));
    if (byte < 0x80) return [value, at + 1];
  }
}

const range: fc.Arbitrary<PageRange> = fc.tuple(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.nat({ max: 2 ** 35 }),
  fc.nat({ max: 7 }),
);

test('every range comes back, in order', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 }), fc.array(range), (pagesId, ranges) => {
      expect(decodePagemap(encodePagemap(pagesId, ranges))).toEqual({ pagesId, ranges });
      const [head, ...entries] = decode(encodePagemap(pagesId, ranges));
      expect(head).toEqual(new Map([[1, BigInt(pagesId)]]));
      expect(entries).toEqual(
        ranges.map(
          ([address, pages, flags]) =>
            new Map([
              [1, address],
              [2, BigInt(pages) & 0xffffffffn],
              [4, BigInt(flags)],
              [5, BigInt(pages)],
            ]),
        ),
      );
    }),
  );
});

test('any bytes, and a pagemap that is cut off or changed anywhere, are refused or understood', () => {
  const whole = fc.tuple(fc.nat(), fc.array(range, { minLength: 1 })).map(([id, ranges]) => encodePagemap(id, ranges));
  const broken = fc.oneof(
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.tuple(whole, fc.nat()).map(([bytes, end]) => bytes.subarray(0, end % bytes.length)),
    fc.tuple(whole, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([bytes, at, change]) => {
      const index = at % bytes.length;
      bytes.writeUInt8(bytes.readUInt8(index) ^ change, index);
      return bytes;
    }),
  );
  fc.assert(
    fc.property(broken, (bytes) => {
      try {
        expect(decodePagemap(bytes).ranges.length).toBeLessThan(bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(FreezerError);
      }
    }),
  );
});
