import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CHUNK_BYTES, type Chunk, type Index, PAGE_BYTES, type Piece } from './format.ts';
import { type LazyMemory, takeLazyMemory } from './lazyMemory.ts';
import { partOf } from './pieces.ts';

const [PRESENT, LAZY] = [4, 2];
const CHUNKS: Chunk[] = [
  ['1'.repeat(64), 0, 0, 100, CHUNK_BYTES],
  ['2'.repeat(64), 0, 100, 100, 5 * PAGE_BYTES],
];

/** Where a page's content is: chunk and offset, or zeros. */
type Page = string;

function pagesOf(pieces: readonly Piece[]): Page[] {
  return pieces.flatMap((piece) => {
    const { chunk = null, offset = 0, sizeBytes = 0 } = partOf(piece, CHUNKS) ?? {};
    const pages = Array.from({ length: sizeBytes / PAGE_BYTES }, (_, page) => offset + page * PAGE_BYTES);
    return pages.map((at) => (chunk === null ? 'zeros' : `${chunk} ${at}`));
  });
}

function pagesByAddress({ addresses, sizes, chunks, offsets }: LazyMemory): [number, Page][] {
  return [...addresses].flatMap((address, at) => {
    const chunk = chunks[at] ?? 0;
    const piece: Piece = [chunk, chunk < 0 ? 0 : (offsets[at] ?? 0), sizes[at] ?? 0];
    return pagesOf([piece]).map((page, number): [number, Page] => [address + number * PAGE_BYTES, page]);
  });
}

function countPresent(ranges: readonly { pages: number; flags: number }[]): number {
  return ranges.reduce((sum, { pages, flags }) => sum + (flags & PRESENT ? pages : 0), 0);
}

/** Ranges one after the other, with gaps, and pieces of any sizes that have as many pages. */
const memory = fc
  .array(fc.record({ gap: fc.nat(3), pages: fc.integer({ min: 1, max: 20 }), flags: fc.constantFrom(4, 6, 2) }))
  .chain((ranges) => {
    const present = countPresent(ranges);
    const piece = fc.record({
      chunk: fc.constantFrom(-1, 0, 1),
      offset: fc.nat(4),
      pages: fc.integer({ min: 1, max: 9 }),
    });
    return fc.record({
      ranges: fc.constant(ranges),
      pieces: fc.array(piece, { minLength: present, maxLength: present }),
    });
  })
  .map(({ ranges, pieces }): Index['memory'][number] => {
    let [page, left] = [0, countPresent(ranges)];
    const cut: Piece[] = [];
    for (const { chunk, offset, pages } of pieces) {
      const taken = Math.min(left, chunk === 1 ? Math.min(pages, 5 - offset) : pages);
      if (taken > 0) cut.push([chunk, chunk < 0 ? 0 : offset * PAGE_BYTES, taken * PAGE_BYTES]);
      left -= taken;
    }
    return {
      object: '257',
      ranges: ranges.map(({ gap, pages, flags }) => {
        const address = String((page + gap) * PAGE_BYTES);
        page += gap + pages;
        return [address, pages, flags];
      }),
      pieces: cut,
    };
  });

test('every page that is lazy is told with its own content, and every other stays where it was', () => {
  fc.assert(
    fc.property(memory, (object) => {
      const content = pagesOf(object.pieces).values();
      const [lazy, eager]: [[number, Page][], Page[]] = [[], []];
      for (const [address, pages, flags] of object.ranges) {
        for (let page = 0; flags & PRESENT && page < pages; page++) {
          const next = content.next().value ?? '';
          if (flags & LAZY) lazy.push([Number(address) + page * PAGE_BYTES, next]);
          else eager.push(next);
        }
      }
      const taken = takeLazyMemory('00000001-000001', { chunks: CHUNKS, memory: [object], images: [], files: [] });
      expect(taken.lazy.flatMap(pagesByAddress)).toEqual(lazy);
      expect(taken.index.memory.flatMap(({ pieces }) => pagesOf(pieces))).toEqual(eager);
    }),
    { numRuns: 300 },
  );
});
