/** Where a memory object's content begins anew: no piece goes beyond the end of a stretch. */
import { PageFlags } from '../criu/pageServer.ts';
import { CHUNK_BYTES, type Index, PAGE_BYTES } from './format.ts';

export const PAGES_PER_WINDOW = CHUNK_BYTES / PAGE_BYTES;

const ALL_PAGES = Uint8Array.from({ length: PAGES_PER_WINDOW }, (_, page) => page);

export type Range = Index['memory'][number]['ranges'][number];

export function presentPages([, pages, flags]: Range): number {
  return flags & PageFlags.present ? pages : 0;
}

/** Pages of one window of the address space that stand next to each other in the content. */
export interface Stretch {
  readonly window: number;
  /** Numbers of the pages within the window, ascending. Not to be written to: others have the same. */
  readonly pages: Uint8Array;
}

/** All stretches, in order. A window that the ranges come back to has another one. A large range costs no more than its caller takes. */
export function* stretchesOf(ranges: readonly Range[]): Generator<Stretch> {
  let [window, pages]: [number, Uint8Array] = [-1, new Uint8Array()];
  for (const range of ranges) {
    const first = Number(BigInt(range[0]) / BigInt(PAGE_BYTES));
    const end = first + presentPages(range);
    for (let page = first; page < end; ) {
      const number = page % PAGES_PER_WINDOW;
      const count = Math.min(PAGES_PER_WINDOW - number, end - page);
      const more = ALL_PAGES.subarray(number, number + count);
      if (Math.floor(page / PAGES_PER_WINDOW) === window && number > (pages.at(-1) ?? -1)) {
        pages = Buffer.concat([pages, more]);
      } else {
        if (pages.length > 0) yield { window, pages };
        [window, pages] = [Math.floor(page / PAGES_PER_WINDOW), more];
      }
      page += count;
    }
  }
  if (pages.length > 0) yield { window, pages };
}
