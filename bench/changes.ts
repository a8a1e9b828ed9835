/** Which pages of the filler's memory are changed between two checkpoints. */

export const PAGE_BYTES = 4096;

/** `region`: one run of pages. `scattered`: single pages, one in each equal part of the memory. */
export type Spread = 'region' | 'scattered';

export interface Change {
  readonly spread: Spread;
  /** Of all pages, 0 to 1. */
  readonly share: number;
}

/** Page numbers, ascending. `random` gives numbers from 0 to below 1. */
export function pickPages(pages: number, { spread, share }: Change, random: () => number): number[] {
  const count = Math.max(1, Math.round(pages * share));
  if (spread === 'region') {
    const first = Math.floor(random() * (pages - count + 1));
    return Array.from({ length: count }, (_, at) => first + at);
  }
  const part = pages / count;
  return Array.from({ length: count }, (_, at) => Math.floor(at * part + random() * part));
}

/** Numbers of the windows of so many bytes, aligned to virtual addresses, that some pages at `base` lie in; ascending. */
export function windowsOf(pages: readonly number[], base: bigint, windowBytes: number): bigint[] {
  const size = BigInt(windowBytes);
  return [...new Set(pages.map((page) => (base + BigInt(page * PAGE_BYTES)) / size))];
}

/** The same numbers in every run of the benchmark (Mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
