/** Tells people how far a long step is: in the record and as the BullMQ job's progress, at most twice a second. */
import type { Progress } from '../jobs/index.ts';

const INTERVAL_MS = 500;

/** Bytes of one step; `totalBytes` null where it cannot be known beforehand. */
export interface StepBytes {
  readonly step: string;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
}

export class ProgressTeller {
  readonly #tell: (progress: Progress) => void;
  #step = '';
  #stepBeganAt = 0;
  #toldAt = 0;

  constructor(tell: (progress: Progress) => void) {
    this.#tell = tell;
  }

  /** May be called as often as one likes. */
  report(bytes: StepBytes): void {
    const now = performance.now();
    if (bytes.step !== this.#step) {
      this.#step = bytes.step;
      this.#stepBeganAt = now;
      this.#toldAt = 0;
    }
    if (this.#toldAt > 0 && now - this.#toldAt < INTERVAL_MS) return;
    this.#toldAt = now;
    this.#tell(describe(bytes, now - this.#stepBeganAt));
  }
}

function describe({ step, doneBytes, totalBytes }: StepBytes, tookMs: number): Progress {
  const bytesPerSecond = tookMs > 0 && doneBytes > 0 ? (doneBytes / tookMs) * 1000 : null;
  const leftBytes = totalBytes === null ? null : Math.max(0, totalBytes - doneBytes);
  const etaMs = leftBytes === null || bytesPerSecond === null ? null : (leftBytes / bytesPerSecond) * 1000;
  return { step, doneBytes, totalBytes, bytesPerSecond, etaMs };
}
