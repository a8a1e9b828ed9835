/** What is sealed is read by nobody else, and never differently from how it was written. */
import { expect, test } from 'vitest';
import { open, SEAL_BYTES, seal, subKeysOf } from './seal.ts';

const keys = subKeysOf(new Uint8Array(32).fill(7));
const content = Buffer.from('a small secret');

test.each([0, 1, 15, 16, 17, 256 * 1024])('%d bytes come back', (sizeBytes) => {
  const bytes = Buffer.alloc(sizeBytes, 'x');
  const sealed = seal(keys.encryption, bytes, 'chunk 1');
  expect(sealed.length).toBe(sizeBytes + SEAL_BYTES);
  expect(open(keys.encryption, sealed, 'chunk 1')).toEqual(bytes);
});

test('the content cannot be seen, and is never sealed the same way twice', () => {
  const sealed = seal(keys.encryption, content, 'chunk 1');
  expect(sealed.includes('secret')).toBe(false);
  expect(seal(keys.encryption, content, 'chunk 1')).not.toEqual(sealed);
});

test('with any one bit flipped it does not open', () => {
  const sealed = seal(keys.encryption, content, 'chunk 1');
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = Uint8Array.from(sealed, (byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
    expect(open(keys.encryption, flipped, 'chunk 1'), `bit ${bit}`).toBeNull();
  }
});

test('cut short or made longer it does not open', () => {
  const sealed = seal(keys.encryption, content, 'chunk 1');
  for (let length = 0; length < sealed.length; length++) {
    expect(open(keys.encryption, sealed.subarray(0, length), 'chunk 1')).toBeNull();
  }
  expect(open(keys.encryption, Buffer.concat([sealed, Buffer.alloc(1)]), 'chunk 1')).toBeNull();
});

test('it opens by its key alone, and only as what it was sealed as', () => {
  const sealed = seal(keys.encryption, content, 'chunk 1');
  expect(open(keys.encryption, sealed, 'chunk 2')).toBeNull();
  expect(open(keys.identity, sealed, 'chunk 1')).toBeNull();
  expect(open(subKeysOf(new Uint8Array(32)).encryption, sealed, 'chunk 1')).toBeNull();
});

test('each purpose has a key of its own, and a data key has 32 bytes', () => {
  expect(new Set(Object.values(keys).map((key) => Buffer.from(key).toString('hex'))).size).toBe(3);
  expect(() => subKeysOf(new Uint8Array(31))).toThrow(RangeError);
});
