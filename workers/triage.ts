/**
 * Which jobs to freeze first when the machine goes away: as much unsaved work as fits before the deadline.
 *
 * How long a freeze takes is estimated from its bytes and the rate that earlier freezes reached here. Jobs with the most
 * unsaved work per byte come first. One that cannot fit any more comes after all that can: it is tried all the same, for
 * an estimate is no knowledge, but at no other job's cost. What is not saved in time keeps its last periodic checkpoint.
 */

/** A running job, as triage sees it. */
export interface Freezable {
  readonly jobId: string;
  /** Memory and files that a freeze has to save. */
  readonly estimatedBytes: number;
  /** Work that would be done again without a checkpoint. */
  readonly unsavedMs: number;
}

export interface PlannedFreeze {
  readonly jobId: string;
  /** Whether the estimate says that it is saved in time. */
  readonly fits: boolean;
}

/** `remainingMs`: time to the deadline with the margin already taken off; null where no deadline is known. */
export function planFreezes(
  jobs: readonly Freezable[],
  limits: { bytesPerSecond: number; remainingMs: number | null },
): PlannedFreeze[] {
  const value = (job: Freezable) => job.unsavedMs / Math.max(job.estimatedBytes, 1);
  let leftMs = limits.remainingMs ?? Number.POSITIVE_INFINITY;
  const planned = [...jobs]
    .sort((a, b) => value(b) - value(a))
    .map((job) => {
      const takesMs = (job.estimatedBytes / limits.bytesPerSecond) * 1000;
      const fits = takesMs <= leftMs;
      if (fits) leftMs -= takesMs;
      return { jobId: job.jobId, fits };
    });
  return [...planned.filter((freeze) => freeze.fits), ...planned.filter((freeze) => !freeze.fits)];
}

/** The rate that freezes reach on this machine: the average, newer ones counting more. */
export class FreezeRate {
  /** Until the first freeze: a modest machine's. */
  bytesPerSecond = 50 * 2 ** 20;
  #measured = false;

  measure(bytes: number, tookMs: number): void {
    if (bytes <= 0 || tookMs <= 0) return;
    const rate = (bytes / tookMs) * 1000;
    this.bytesPerSecond = this.#measured ? (this.bytesPerSecond + rate) / 2 : rate;
    this.#measured = true;
  }
}
