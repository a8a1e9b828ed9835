import { describe, expect, test } from 'vitest';
import { PAGE_BYTES, pickPages, randomFrom, windowsOf } from './changes.ts';

const PAGES = 65_536;
const distances = (pages: number[]) => pages.slice(1).map((page, at) => page - (pages[at] ?? 0));

describe('changed pages', () => {
  test.each(['region', 'scattered'] as const)('%s: as many as asked for, each once, all inside', (spread) => {
    for (const seed of [1, 2, 3, 4]) {
      const pages = pickPages(PAGES, { spread, share: 0.01 }, randomFrom(seed));
      expect(new Set(pages).size).toBe(655);
      expect(Math.min(...pages)).toBeGreaterThanOrEqual(0);
      expect(Math.max(...pages)).toBeLessThan(PAGES);
    }
  });

  test('of a region follow each other', () => {
    expect(new Set(distances(pickPages(PAGES, { spread: 'region', share: 0.01 }, randomFrom(1))))).toEqual(
      new Set([1]),
    );
  });

  test('that are scattered lie in almost as many 64 KiB windows, at uneven distances', () => {
    const pages = pickPages(PAGES, { spread: 'scattered', share: 0.01 }, randomFrom(1));
    expect(windowsOf(pages, 0n, 65_536).length).toBeGreaterThan(600);
    expect(new Set(distances(pages)).size).toBeGreaterThan(50);
  });

  test('are the same for one seed and others for another', () => {
    const pick = (seed: number) => pickPages(PAGES, { spread: 'scattered', share: 0.01 }, randomFrom(seed));
    expect(pick(1)).toEqual(pick(1));
    expect(pick(1)).not.toEqual(pick(2));
  });
});

test('windows are those of virtual addresses, not of the memory', () => {
  const base = BigInt(65_536 * 7 + PAGE_BYTES * 15);
  expect(windowsOf([0, 1, 2, 17], base, 65_536)).toEqual([7n, 8n, 9n]);
});
