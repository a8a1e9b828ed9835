/** The base's memory, by address: which pages it had, and where their content is. */
import type { Base } from './base.ts';
import { type Index, PAGE_BYTES } from './format.ts';
import { DIGEST_BYTES, type PageDigests } from './pageDigests.ts';
import { type Part, partOf } from './pieces.ts';
import { presentPages, stretchesOf } from './stretches.ts';

interface KnownStretch {
  /** Numbers of the pages within the window, ascending. */
  readonly pages: Uint8Array;
  /** Of the first, among all present pages of the index. */
  readonly firstPage: number;
  readonly parts: readonly Part[];
}

/** By object and number of the window. */
type Windows = Map<string, Map<number, KnownStretch[]>>;

/** A page as the base had it. */
export interface BasePage {
  readonly digest: Buffer;
  /** Null where its chunk is not to be referred to. */
  readonly part: Part | null;
}

export class BaseMemory {
  readonly #base: Base;
  readonly #digests: PageDigests;
  readonly #windows: Windows;

  constructor(base: Base, digests: PageDigests) {
    this.#base = base;
    this.#digests = digests;
    this.#windows = windowsOf(base.index);
  }

  has(object: string, window: number): boolean {
    return this.#windows.get(object)?.has(window) ?? false;
  }

  /** The base's pages of a window, by their number in it. */
  pagesOf(object: string, window: number): Map<number, BasePage> {
    const pages = new Map<number, BasePage>();
    for (const { pages: numbers, firstPage, parts } of this.#windows.get(object)?.get(window) ?? []) {
      const digests = Buffer.alloc(numbers.length * DIGEST_BYTES);
      this.#digests.read(firstPage, digests);
      const places = pagesIn(parts);
      for (const [at, number] of numbers.entries()) {
        const digest = digests.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES);
        pages.set(number, { digest, part: this.#reusable(places[at]) });
      }
    }
    return pages;
  }

  /** Whether a window has just these pages with these digests; then all its parts. */
  unchanged(object: string, window: number, pages: Uint8Array, digests: Uint8Array): readonly Part[] | null {
    const [stretch, second] = this.#windows.get(object)?.get(window) ?? [];
    if (!stretch || second || !Buffer.from(stretch.pages).equals(pages)) return null;
    const before = Buffer.allocUnsafe(digests.length);
    this.#digests.read(stretch.firstPage, before);
    if (!before.equals(digests)) return null;
    return stretch.parts.every((part) => this.#reusable(part)) ? stretch.parts : null;
  }

  #reusable(part: Part | undefined): Part | null {
    return part && (part.chunk === null || this.#base.isReusable(part.chunk)) ? part : null;
  }
}

const known = new WeakMap<Index, Windows>();

/** Found out once for each index: whoever expects to need them asks beforehand, as for a large job this takes some tenths of a second. */
export function windowsOf(index: Index): Windows {
  const before = known.get(index);
  if (before) return before;
  const windows: Windows = new Map();
  let firstPage = 0;
  for (const object of index.memory) {
    const ofObject = new Map<number, KnownStretch[]>();
    firstPage = addStretches(ofObject, object, firstPage, index.chunks);
    windows.set(object.object, ofObject);
  }
  known.set(index, windows);
  return windows;
}

/** How many present pages an index has. */
export function countPages(index: Pick<Index, 'memory'>): number {
  return index.memory.reduce(
    (sum, { ranges }) => sum + ranges.reduce((pages, range) => pages + presentPages(range), 0),
    0,
  );
}

function addStretches(
  windows: Map<number, KnownStretch[]>,
  { ranges, pieces }: Index['memory'][number],
  firstPage: number,
  chunks: Index['chunks'],
): number {
  let [page, piece] = [firstPage, 0];
  for (const { window, pages } of stretchesOf(ranges)) {
    const parts: Part[] = [];
    for (let left = pages.length * PAGE_BYTES; left > 0; piece++) {
      const part = partOf(pieces[piece] ?? -1, chunks);
      if (!part) throw new Error('The memory of the base is not all there.');
      parts.push(part);
      left -= part.sizeBytes;
    }
    const stretch = { pages, firstPage: page, parts };
    windows.set(window, [...(windows.get(window) ?? []), stretch]);
    page += pages.length;
  }
  return page;
}

/** The part of each page, in order. */
function pagesIn(parts: readonly Part[]): Part[] {
  return parts.flatMap(({ chunk, offset, sizeBytes }) =>
    Array.from({ length: sizeBytes / PAGE_BYTES }, (_, page) => ({
      chunk,
      offset: chunk === null ? 0 : offset + page * PAGE_BYTES,
      sizeBytes: PAGE_BYTES,
    })),
  );
}
