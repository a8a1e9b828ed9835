import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PAGE_BYTES } from './format.ts';
import { PAGES_PER_WINDOW, type Range, stretchesOf } from './stretches.ts';

const PRESENT = 4;

/** Page by page, as docs/format.md has it. */
function pageByPage(ranges: readonly Range[]): { window: number; pages: number[] }[] {
  const stretches: { window: number; pages: number[] }[] = [];
  for (const [address, pages, flags] of ranges) {
    for (let page = Number(address) / PAGE_BYTES, left = flags & PRESENT ? pages : 0; left > 0; page++, left--) {
      const [window, number] = [Math.floor(page / PAGES_PER_WINDOW), page % PAGES_PER_WINDOW];
      const last = stretches.at(-1);
      if (last?.window === window && number > (last.pages.at(-1) ?? -1)) last.pages.push(number);
      else stretches.push({ window, pages: [number] });
    }
  }
  return stretches;
}

test('stretches are those that are found page by page, whatever ranges touch, overlap or come back', () => {
  const range = fc
    .tuple(fc.nat(300), fc.nat(200), fc.constantFrom(PRESENT, PRESENT | 2, 2, 0))
    .map(([page, pages, flags]): Range => [String(page * PAGE_BYTES), pages, flags]);
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), (ranges) => {
      const stretches = [...stretchesOf(ranges)].map(({ window, pages }) => ({ window, pages: [...pages] }));
      expect(stretches).toEqual(pageByPage(ranges));
    }),
    { numRuns: 500 },
  );
});
