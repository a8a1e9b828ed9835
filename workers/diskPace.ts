/** How long a job's use of the disk is not looked at: looks cost time, and a job that grows fast must be seen in time. */
import type { DiskUse } from '../freezer/index.ts';

const LOOK_EVERY_MS = 1000;
/** The usual rest is so many times what the look took. */
const REST = 10;

/** A look, and when it ended by `performance.now()`. */
export interface Look extends DiskUse {
  readonly at: number;
}

/**
 * Pure. The usual rest, or half of the time until the job reaches its limit at its present pace, whichever is less. Never less
 * than one second, nor than the look took. The pace is not known before the second look, which comes soon.
 */
export function restMs(tookMs: number, now: Look, before: Look | null, limits: DiskUse): number {
  const least = Math.max(LOOK_EVERY_MS, tookMs);
  if (before === null) return least;
  const leftMs = (of: 'bytes' | 'files') => {
    const grown = now[of] - before[of];
    return grown <= 0 ? Number.POSITIVE_INFINITY : ((limits[of] - now[of]) / grown) * (now.at - before.at);
  };
  const untilLimitMs = Math.min(leftMs('bytes'), leftMs('files'));
  return Math.max(least, Math.min(REST * tookMs, untilLimitMs / 2));
}
