/**
 * Tells early that a program cannot be frozen, and not only when its machine is about to go: a while after a run began it is
 * looked at as before a freeze, once. From the first freeze on that is told by the freezes themselves.
 */
import { FreezerError, type Run } from '../freezer/index.ts';
import type { WorkerContext } from './context.ts';
import type { Ledger } from './ledger.ts';
import type { QueuedJob } from './queuedJob.ts';

/** By then most programs have opened what they work with. */
const LOOK_AFTER_MS = 10_000;

export interface EarlyWarningOrder {
  readonly context: WorkerContext;
  readonly queued: QueuedJob;
  readonly ledger: Ledger;
}

/** Disposed at the first freeze, and with the run. */
export class EarlyWarning implements Disposable {
  readonly #order: EarlyWarningOrder;
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(order: EarlyWarningOrder, run: Run) {
    this.#order = order;
    this.#timer = setTimeout(() => void this.#look(run), LOOK_AFTER_MS);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  /** Whatever goes wrong with it costs the warning and nothing else. */
  async #look(run: Run): Promise<void> {
    const { context, queued, ledger } = this.#order;
    const about = { jobId: queued.id, epoch: queued.epoch };
    try {
      const obstacle = await obstacleOf(run);
      if (this.#isOver || obstacle === null) return;
      const { message, remedy } = obstacle;
      context.logger.warn({ ...about, message, remedy }, 'its program cannot be frozen as it is; it runs on');
      await ledger.cannotFreeze(obstacle);
    } catch (error) {
      if (!this.#isOver) context.logger.info({ ...about, err: error }, 'whether it can be frozen could not be seen');
    }
  }
}

async function obstacleOf(run: Run): Promise<FreezerError | null> {
  try {
    await run.preflight();
    return null;
  } catch (error) {
    if (error instanceof FreezerError && error.code === 'cannotFreeze') return error;
    throw error;
  }
}
