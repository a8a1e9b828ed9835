/**
 * The end of a job, in the one order that loses nothing: the result in the store, which is create-only and decides; then
 * the record; then the queue; last its checkpoints go. A worker that dies in between leaves the rest to the next one that
 * gets the job, and the checkpoints to `floe gc`.
 */
import type { JobResult } from '../jobs/index.ts';
import { StoreError } from '../store/store.ts';
import type { WorkerContext } from './context.ts';
import type { InsistOptions, Lease } from './lease.ts';
import { describeEnd, type Ledger } from './ledger.ts';
import type { QueuedJob } from './queuedJob.ts';
import { commitResult } from './result.ts';
import { removeAtEnd } from './retention.ts';

export interface Ending {
  readonly context: WorkerContext;
  readonly queued: QueuedJob;
  readonly lease: Lease;
  readonly ledger: Ledger;
}

/** Resolves to the result that counts: that of another run, if one was first. Rejects with `lost`. */
export async function settle(ending: Ending, result: JobResult): Promise<JobResult> {
  const { context, queued, lease, ledger } = ending;
  const final = ledger.keepsCheckpoints ? { ...result, checkpointsKept: true as const } : result;
  const committed = await lease.insist(
    () => commitResult(context.store, final, context.signatures),
    untilStored(context, queued),
  );
  await ledger.ended(committed);
  await report(queued, lease, committed);
  if (!committed.checkpointsKept) await removeAtEnd(context, queued.id);
  return committed;
}

/** Tells the queue how a job ended whose record says it already. */
export async function report(queued: QueuedJob, lease: Lease, result: JobResult): Promise<void> {
  if (result.outcome === 'succeeded') await lease.insist(() => queued.complete(result));
  else await lease.insist(() => queued.fail(describeEnd(result)));
}

/** Whether the job's own files are at fault: the store has no part in it, and another try would go the same way. */
export function isOfFiles({ code }: StoreError): boolean {
  return code === 'invalid' || code === 'tooLarge' || code === 'unreadable';
}

/** What has been computed is not thrown away because the store is away, denies or is full: somebody can mend that. */
export function untilStored(context: WorkerContext, queued: QueuedJob, signal?: AbortSignal): InsistOptions {
  let told = '';
  return {
    ...(signal ? { signal } : {}),
    isFinal: (error) => !(error instanceof StoreError) || isOfFiles(error),
    onFailure: (error) => {
      if (error.message === told) return;
      told = error.message;
      context.logger.warn(
        { jobId: queued.id, epoch: queued.epoch, err: error },
        'the store does not take the result; trying on',
      );
    },
  };
}
