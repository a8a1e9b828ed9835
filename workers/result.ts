/** How a job ended, as the one object in the store that decides it. */
import type { ProgramEnd as RuntimeEnd } from '../freezer/runtime.ts';
import { JobResult, storeKeys } from '../jobs/index.ts';
import { type Store, StoreError } from '../store/store.ts';
import type { WorkerContext } from './context.ts';
import type { QueuedJob } from './queuedJob.ts';

type Reason = NonNullable<JobResult['reason']>;

/** A job that ends without its program having ended by itself. */
export function resultWithoutEnd(
  context: WorkerContext,
  queued: QueuedJob,
  outcome: 'failed' | 'cancelled',
  reason: Reason | null,
): JobResult {
  return {
    version: 1,
    jobId: queued.id,
    outcome,
    end: null,
    reason,
    epoch: queued.epoch,
    worker: context.worker,
    finishedAt: new Date().toISOString(),
    outputs: null,
    logs: null,
  };
}

/** A job whose program ended by itself: it succeeded if it exited with 0. A reason is that it outgrew its own limit. */
export function resultOfEnd(context: WorkerContext, queued: QueuedJob, end: RuntimeEnd): JobResult {
  const exitCode = end.kind === 'exited' ? end.code : null;
  const signal = end.kind === 'killed' ? end.signal : null;
  const reason =
    end.kind === 'lost' || end.reason === undefined ? null : { code: 'memoryExceeded', message: end.reason };
  return {
    ...resultWithoutEnd(context, queued, 'failed', reason),
    outcome: exitCode === 0 ? 'succeeded' : 'failed',
    end: { exitCode, signal },
  };
}

/**
 * Creates the result, once for every job. Resolves to the one that counts: where another run was first, that
 * run's. Rejects with `StoreError`.
 */
export async function commitResult(store: Store, result: JobResult): Promise<JobResult> {
  try {
    await store.create(storeKeys.result(result.jobId), Buffer.from(JSON.stringify(result)));
    return result;
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'exists')) throw error;
    return (await readResult(store, result.jobId)) ?? result;
  }
}

/** Null when the job has no result yet. Rejects with `StoreError`; `damaged` for what is no result. */
export async function readResult(store: Store, jobId: string): Promise<JobResult | null> {
  const key = storeKeys.result(jobId);
  let bytes: Buffer;
  try {
    bytes = await store.get(key);
  } catch (error) {
    if (error instanceof StoreError && error.code === 'notFound') return null;
    throw error;
  }
  try {
    return JobResult.parse(JSON.parse(bytes.toString()));
  } catch (cause) {
    throw new StoreError('damaged', `${key} is no result of this version.`, 'Update this worker.', { cause });
  }
}
