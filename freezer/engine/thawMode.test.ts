import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import type { Chunk, Index } from '../checkpoint/format.ts';
import type { LazyMemory } from '../checkpoint/lazyMemory.ts';
import { isLazyThaw, memoryImageBytes } from './thawMode.ts';

const MIB = 2 ** 20;
const MORE_THAN_ANY_MACHINE = 2 ** 50;
const small: LazyMemory = {
  process: 1000,
  addresses: Float64Array.of(4096),
  sizes: Uint32Array.of(MIB),
  chunks: Int32Array.of(0),
  offsets: Uint32Array.of(0),
};
const eager = { memoryBytes: MIB, imageBytes: MIB, imagesDirectory: tmpdir() };
const eagerWithoutRoom = { ...eager, imageBytes: MORE_THAN_ANY_MACHINE };

test('memory whose images have no room is brought lazily, unless that was ruled out', async () => {
  expect(await isLazyThaw('auto', [small], eager)).toBe(false);
  expect(await isLazyThaw('auto', [small], eagerWithoutRoom)).toBe(true);
  expect(await isLazyThaw('eager', [small], eagerWithoutRoom)).toBe(false);
  expect(await isLazyThaw('auto', [], eagerWithoutRoom)).toBe(false);
});

test('zeros take no room', () => {
  const chunks: Chunk[] = [['a'.repeat(64), 0, 0, 100, 8192]];
  const memory: Index['memory'] = [
    {
      object: '1',
      ranges: [],
      pieces: [
        [0, 0, 4096],
        [-1, 0, MIB],
      ],
    },
    { object: '2', ranges: [], pieces: [0] },
  ];
  expect(memoryImageBytes({ memory, chunks })).toBe(4096 + 8192);
});
