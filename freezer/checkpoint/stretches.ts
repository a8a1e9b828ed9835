/** Where a memory object's content begins anew: no piece goes beyond the end of a stretch. */
import { PageFlags } from '../criu/pageServer.ts';
import { CHUNK_BYTES, type Index, PAGE_BYTES } from './format.ts';

export const PAGES_PER_WINDOW = CHUNK_BYTES / PAGE_BYTES;

export type Range = Index['memory'][number]['ranges'][number];

export function presentPages([, pages, flags]: Range): number {
  return flags & PageFlags.present ? pages : 0;
}

/** Pages of one window of the address space that stand next to each other in the content. */
export interface Stretch {
  readonly window: number;
  /** Numbers of the pages within the window, ascending. */
  readonly pages: readonly number[];
}

/** All stretches, in order. A window that the ranges come back to has another one. A large range costs no more than its caller takes. */
export function* stretchesOf(ranges: readonly Range[]): Generator<Stretch> {
  let [window, pages]: [number, number[]] = [-1, []];
  for (const range of ranges) {
    const first = Number(BigInt(range[0]) / BigInt(PAGE_BYTES));
    const end = first + presentPages(range);
    for (let page = first, last = pages.at(-1) ?? -1; page < end; page++) {
      const number = page % PAGES_PER_WINDOW;
      if (number <= last || Math.floor(page / PAGES_PER_WINDOW) !== window) {
        if (pages.length > 0) yield { window, pages };
        [window, pages] = [Math.floor(page / PAGES_PER_WINDOW), []];
      }
      pages.push(number);
      last = number;
    }
  }
  if (pages.length > 0) yield { window, pages };
}
