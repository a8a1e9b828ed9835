/** Images of processes that anybody could have written: what they ask for is seen, and nothing else comes of them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changeMessage } from '../testing/forge.ts';
import { hasCredentials, privilegeIn } from './credentials.ts';

const NAME = 'core-1001.img';
const EMPTY = Buffer.from('195654564738055500000000', 'hex');

/** A process of a job, as far as this looks at it. */
const PARTS: [path: number[], value: bigint][] = [
  [[3, 1], 1n],
  [[5, 10, 1], 0n],
  [[5, 10, 18], 1n],
  [[5, 11], 2n],
];
const HARMLESS = PARTS.reduce<Buffer>((image, [path, value]) => changeMessage(image, path, [value]), EMPTY);

test('a process without privileges passes, and so does one that has ended', () => {
  expect(privilegeIn(NAME, HARMLESS)).toBeNull();
  expect(privilegeIn(NAME, changeMessage(HARMLESS, [5, 10, 11], [0n, 0n]))).toBeNull();
  expect(privilegeIn(NAME, changeMessage(EMPTY, [3, 1], [2n]))).toBeNull();
});

describe('refused is', () => {
  test.each([9, 10, 11, 12, 19])('any capability in field %d', (field) => {
    for (const values of [[1n], [0n, 1n], [0xffffffffn, 0x1ffn]]) {
      expect(privilegeIn(NAME, changeMessage(HARMLESS, [5, 10, field], values))).toMatch(/capabilities in core-1001/);
    }
  });

  test.each([
    ['no_new_privs off', changeMessage(HARMLESS, [5, 10, 18], [0n])],
    ['no_new_privs not said', changeMessage(HARMLESS, [5, 10, 18], [])],
    ['no_new_privs, then off', changeMessage(HARMLESS, [5, 10, 18], [1n, 0n])],
    ['no seccomp', changeMessage(HARMLESS, [5, 11], [0n])],
    ['seccomp not said', changeMessage(HARMLESS, [5, 11], [])],
    ['no credentials', changeMessage(EMPTY, [5, 11], [2n])],
    ['no thread, and not dead', changeMessage(EMPTY, [3, 1], [1n])],
    ['nothing', EMPTY],
    ['cut short', HARMLESS.subarray(0, -1)],
  ])('%s', (_what, image) => expect(privilegeIn(NAME, image)).not.toBeNull());

  test('an image that only old versions of CRIU had', () => {
    expect(hasCredentials('creds-1001.img')).toBe(true);
    expect(privilegeIn('creds-1001.img', HARMLESS)).toMatch(/jobs never have/);
  });
});

test('other images are not looked at', () => {
  expect(['fdinfo-2.img', 'core.img', 'pstree.img'].filter(hasCredentials)).toEqual([]);
});

test('whatever the bytes are, it answers', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const image = Buffer.concat([EMPTY.subarray(0, 8), Buffer.from([bytes.length, 0, 0, 0]), Buffer.from(bytes)]);
      expect(privilegeIn(NAME, image)).toEqual(expect.any(String));
    }),
  );
});
