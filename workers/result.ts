/** How a job ended, as the one object in the store that decides it. */
import type { ProgramEnd as RuntimeEnd } from '../freezer/runtime.ts';
import { JobResult, storeKeys } from '../jobs/index.ts';
import { type Store, StoreError } from '../store/store.ts';
import type { WorkerContext } from './context.ts';
import type { QueuedJob } from './queuedJob.ts';

type Reason = NonNullable<JobResult['reason']>;

/** The code of a reason: whatever attempts are left, none would go better. */
export const CANNOT_START = 'cannotStart';

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

/** A job whose program ended by itself: it succeeded if it exited with 0. A reason is that it outgrew its own limit, or never ran. */
export function resultOfEnd(context: WorkerContext, queued: QueuedJob, end: RuntimeEnd): JobResult {
  const exitCode = end.kind === 'exited' ? end.code : null;
  const signal = end.kind === 'killed' ? end.signal : null;
  return {
    ...resultWithoutEnd(context, queued, 'failed', reasonOfEnd(end)),
    outcome: exitCode === 0 ? 'succeeded' : 'failed',
    end: { exitCode, signal },
  };
}

function reasonOfEnd(end: RuntimeEnd): Reason | null {
  if (end.kind === 'lost') return null;
  if (end.reason !== undefined) return { code: 'memoryExceeded', message: end.reason };
  if (end.kind === 'killed' || end.cannotStart === undefined) return null;
  return { code: CANNOT_START, message: `The program cannot be started: ${end.cannotStart}.` };
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
