/** The names of what is measured. Times in ms, sizes in bytes. */
import { type Change, PAGE_BYTES, pickPages, randomFrom } from './changes.ts';
import type { Content } from './filler.ts';

/** One pair's measurements, by name: `floe.…` for Floe, `disk.…` (a), `pipe.…` (b), `dump.…` (c) for the simple ways. */
export type Measures = Record<string, number>;

/** What can be measured alone: the first checkpoint; those after a change; the ways back. */
export type Part = 'full' | 'increment' | 'thaw';

/** A program of this size with this content. */
export interface Load {
  readonly sizeBytes: number;
  readonly content: Content;
}

/** What happens to the memory between one checkpoint and the next, in this order. */
export const changes = {
  'region 1 %': { spread: 'region', share: 0.01 },
  'scattered 1 %': { spread: 'scattered', share: 0.01 },
  'region 4 %': { spread: 'region', share: 0.04 },
  'region 16 %': { spread: 'region', share: 0.16 },
} as const satisfies Record<string, Change>;

export type ChangeName = keyof typeof changes;
export const changeNames = Object.keys(changes) as ChangeName[];

/** The same pages in every way of doing it, others in every pair. */
export function changedPages(name: ChangeName, { sizeBytes }: Load, pair: number): number[] {
  return pickPages(sizeBytes / PAGE_BYTES, changes[name], randomFrom(pair * 1000 + changeNames.indexOf(name)));
}
