/**
 * Which jobs to freeze first when the machine goes away: as much unsaved work as fits before the deadline.
 *
 * Jobs with the most unsaved work for the time that a freeze takes come first. One that cannot fit any more comes after all that can: it
 * is tried all the same, for an estimate is no knowledge, but at no other job's cost. What is not saved in time keeps its last periodic
 * checkpoint.
 */

/** A running job, as triage sees it. */
export interface Freezable {
  readonly jobId: string;
  /** How long a freeze of it will take. */
  readonly estimatedMs: number;
  /** Work that would be done again without a checkpoint. */
  readonly unsavedMs: number;
}

export interface PlannedFreeze {
  readonly jobId: string;
  /** Whether the estimate says that it is saved in time. */
  readonly fits: boolean;
}

/** `remainingMs`: time to the deadline with the margin already taken off; null where no deadline is known. */
export function planFreezes(jobs: readonly Freezable[], remainingMs: number | null): PlannedFreeze[] {
  const value = (job: Freezable) => job.unsavedMs / Math.max(job.estimatedMs, 1);
  let leftMs = remainingMs ?? Number.POSITIVE_INFINITY;
  const planned = [...jobs]
    .sort((a, b) => value(b) - value(a))
    .map(({ jobId, estimatedMs }) => {
      const fits = estimatedMs <= leftMs;
      if (fits) leftMs -= estimatedMs;
      return { jobId, fits };
    });
  return [...planned.filter((freeze) => freeze.fits), ...planned.filter((freeze) => !freeze.fits)];
}

/** The rate that freezes reach on this machine where all of a job is new: the average, newer ones counting more. */
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

/**
 * How long a freeze of one job takes. Its first one costs what its bytes cost here. One that has a checkpoint before it costs what has
 * changed since, of which other jobs, and its own size, say nothing: it will take as long as the last such one did.
 */
export class FreezeTime {
  readonly #rate: FreezeRate;
  #incrementMs: number | null = null;

  constructor(rate: FreezeRate) {
    this.#rate = rate;
  }

  measure({ bytes, tookMs, isIncrement }: { bytes: number; tookMs: number; isIncrement: boolean }): void {
    if (isIncrement) this.#incrementMs = tookMs;
    else this.#rate.measure(bytes, tookMs);
  }

  /** `bytes`: memory and files of the job. Until an increment has been seen, all of them count: rather too long than too short. */
  estimateMs(bytes: number): number {
    return this.#incrementMs ?? (bytes / this.#rate.bytesPerSecond) * 1000;
  }
}
