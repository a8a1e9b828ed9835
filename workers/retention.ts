/**
 * Which checkpoints of a job stay: the newest `checkpoint.keep` of the history that counts, while it lives; none when it has
 * ended, unless its spec says otherwise.
 *
 * A run removes what is too old after each checkpoint that it commits, and once when it begins: what it may not read any
 * more, as a stale run's checkpoints, goes then. It works in the background, one removal at a time, and is given up
 * when the run is over. Whatever fails costs space and nothing else: the next removal, or `floe gc`, makes up for it.
 */
import { carryOut, keepOnly, planRemoval, readHoldings, summariesOf } from '../freezer/checkpoint/retention.ts';
import type { CheckpointSummary } from '../freezer/runtime.ts';
import { storeKeys } from '../jobs/index.ts';
import { removeAll } from '../store/removeAll.ts';
import { candidatesFor } from './candidates.ts';
import type { WorkerContext } from './context.ts';
import { listFences, oldestEpoch, readFences } from './fence.ts';
import type { QueuedJob } from './queuedJob.ts';

/** How long the end of a job waits for its checkpoints to go. */
const AT_END_MS = 60_000;
const ANY_EPOCH = 99_999_999;

export interface RetentionOrder {
  readonly context: WorkerContext;
  readonly queued: QueuedJob;
  /** `checkpoint.keep` of its spec. */
  readonly keep: number;
  /** Aborts when the job is not this run's any more. */
  readonly signal: AbortSignal;
}

interface KeepingRun {
  readonly epoch: number;
  readonly keep: number;
  readonly thawedFrom: string | null;
  /** See `Retention`. */
  readonly buildsOn: string | null;
}

/** Removes the checkpoints of a running job that are too old. Disposed with its run. */
export class Retention implements Disposable {
  readonly #order: RetentionOrder;
  readonly #over = new AbortController();
  #thawedFrom: string | null = null;
  /** The last checkpoint that the run knows to be committed, or what it was thawed from: its next one refers to packs of that. */
  #buildsOn: string | null = null;
  #working = false;
  #wanted = false;
  #hasFailed = false;

  constructor(order: RetentionOrder) {
    this.#order = order;
  }

  /** The run began, with this checkpoint or from the beginning. A job's first run has nothing to remove. */
  began(thawedFrom: string | null): void {
    this.#thawedFrom = thawedFrom;
    this.#buildsOn = thawedFrom;
    if (this.#order.queued.epoch > 1) this.#want();
  }

  /** The run has committed this one. Returns at once. While a removal is under way, another one follows it. */
  committed(checkpoint: string): void {
    this.#buildsOn = checkpoint;
    this.#want();
  }

  #want(): void {
    this.#wanted = true;
    if (!this.#working) void this.#work();
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }

  async #work(): Promise<void> {
    const { context, queued, keep } = this.#order;
    const signal = AbortSignal.any([this.#order.signal, this.#over.signal]);
    this.#working = true;
    while (this.#wanted && !signal.aborted) {
      this.#wanted = false;
      try {
        // As it is before the store is listed: what is committed meanwhile builds on what stays for this.
        const run = { epoch: queued.epoch, keep, thawedFrom: this.#thawedFrom, buildsOn: this.#buildsOn };
        await removeOld({ context, queued, signal }, run);
      } catch (error) {
        if (!signal.aborted) this.#failed(error);
      }
    }
    this.#working = false;
  }

  /** Told once: a store that is away is told of by others as well. */
  #failed(error: unknown): void {
    const { context, queued } = this.#order;
    const level = this.#hasFailed ? 'debug' : 'warn';
    this.#hasFailed = true;
    context.logger[level]({ jobId: queued.id, err: error }, 'old checkpoints could not be removed; they take space');
  }
}

/** Rejects with `StoreError` or `FreezerError`, or the signal's reason. */
async function removeOld({ context, queued, signal }: Omit<RetentionOrder, 'keep'>, run: KeepingRun): Promise<void> {
  const { store } = context;
  const { epoch } = run;
  const holdings = await readHoldings(store, storeKeys.checkpoints(queued.id), { signal });
  // Read last: when a newer run has begun, this one no longer knows what counts.
  const checkpoints = summariesOf(holdings);
  const fenced = await listFences(store, queued.id, ANY_EPOCH);
  const fences = await readFences(store, queued.id, { listed: fenced, since: oldestEpoch(checkpoints) });
  if (fences[0]?.epoch !== epoch) return;
  const history = candidatesFor(epoch + 1, fences, checkpoints);
  const kept = keptOf(history, run);
  await carryOut(store, planRemoval(holdings, keepOnly(kept, epoch)), { signal });
}

/**
 * Pure: which checkpoints of a history, newest first, stay for the run `epoch`.
 *
 * A run that passed over some, because they could not be thawed, keeps them until it has a checkpoint of its own, and
 * does not count them: they are the worst that there are. What it was thawed from stays until then as well, for its next
 * checkpoint builds on it.
 *
 * The one that it builds on stays in any case, and so do its own after that: a freeze that failed may have left its manifest, when the
 * answer to that was lost, and the next checkpoint does not build on what the run knows nothing of.
 */
export function keptOf(history: readonly CheckpointSummary[], run: KeepingRun): string[] {
  const ids = history.map(({ id }) => id);
  const ownCount = history.filter(({ epoch }) => epoch === run.epoch).length;
  const begunAt = run.thawedFrom === null ? ids.length : Math.max(ids.indexOf(run.thawedFrom), ownCount);
  const passedOver = ids.slice(ownCount, begunAt);
  const usable = [...ids.slice(0, ownCount), ...ids.slice(begunAt)].slice(0, run.keep);
  const since = ids.filter((id, at) => id === run.buildsOn || (at < ownCount && id > (run.buildsOn ?? '')));
  return [...new Set([...(ownCount > 0 ? [] : passedOver), ...since, ...usable])];
}

/** Removes the checkpoints of a job that has ended. Never rejects, and takes a minute at most. */
export async function removeAtEnd(context: WorkerContext, jobId: string): Promise<void> {
  try {
    await removeAll(context.store, storeKeys.checkpoints(jobId), { signal: AbortSignal.timeout(AT_END_MS) });
  } catch (error) {
    context.logger.warn({ jobId, err: error }, 'its checkpoints could not be removed; `floe gc` does it');
  }
}
