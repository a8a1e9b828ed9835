import { describe, expect, test } from 'vitest';
import { Base } from './base.ts';
import type { Index, Manifest } from './format.ts';

/** One chunk in each pack, all of it in use. */
function baseWith(packBytes: readonly number[]): Base {
  const packs = packBytes.map((sizeBytes, at) => ({ key: `packs/${at}`, sizeBytes }));
  const chunks: Index['chunks'] = packBytes.map((sizeBytes, at) => [String(at), at, 0, sizeBytes, 4096]);
  const images = [{ name: 'a.img', sizeBytes: 4096 * chunks.length, pieces: [...chunks.keys()] }];
  return new Base({ id: '1', packs } as unknown as Manifest, { chunks, memory: [], images, files: [] });
}

describe('what is referred to and not sent again', () => {
  test('is in large packs and in a few small ones', () => {
    const base = baseWith([2 ** 24, ...Array<number>(64).fill(100)]);
    expect(base.find('0')).toBe(0);
    expect(base.find('64')).toBe(64);
  });

  test('is not in small packs when there are many: else each checkpoint would add to them for ever', () => {
    const base = baseWith([2 ** 24, ...Array<number>(65).fill(100)]);
    expect(base.find('0')).toBe(0);
    expect(base.find('1')).toBeUndefined();
  });
});
