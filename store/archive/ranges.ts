/** The parts of a sparse file that have data. */
import type { BigIntStats } from 'node:fs';
import { ArchiveFailure } from './failure.ts';
import type { Range } from './tarFormat.ts';

/** The next range with data at or after an offset; null where there is none (native/dataRanges.c). */
export type NextRange = (file: number, offsetBytes: number) => [start: number, end: number] | null;

/** A hole that is smaller costs less when it is stored as zeros than its line in the map. */
const SMALLEST_HOLE_BYTES = 4096;
const STAT_BLOCK_BYTES = 512n;
/** A map of so many lines is some 20 MB. */
const MOST_RANGES = 500_000;

/** Null for a file without holes: by its blocks, since asking costs a call for each file. Throws `ArchiveFailure` `tooLarge`. */
export function rangesOf(file: number, stats: BigIntStats, next: NextRange, onStep: () => void): Range[] | null {
  const sizeBytes = Number(stats.size);
  if (stats.size - stats.blocks * STAT_BLOCK_BYTES < BigInt(SMALLEST_HOLE_BYTES)) return null;
  const ranges: [number, number][] = [];
  for (let at = 0; at < sizeBytes; ) {
    onStep();
    const range = next(file, at);
    if (range === null || range[0] >= sizeBytes) break;
    const [start, end] = [range[0], Math.min(range[1], sizeBytes)];
    const last = ranges.at(-1);
    if (last && start - last[1] < SMALLEST_HOLE_BYTES) last[1] = end;
    else if (ranges.push([start, end]) > MOST_RANGES) {
      const what = `A sparse file has more than ${MOST_RANGES} parts with data.`;
      throw new ArchiveFailure('tooLarge', what, 'Copy it to a file without holes, or leave it out.');
    }
    at = end;
  }
  const [first] = ranges;
  return ranges.length === 1 && first && first[0] === 0 && first[1] === sizeBytes ? null : ranges;
}
