/** What stays of a run when its program has ended: the outputs that the job names, and the complete log. */
import { createReadStream } from 'node:fs';
import type { Run } from '../freezer/runtime.ts';
import { type JobResult, type JobSpec, storeKeys } from '../jobs/index.ts';
import { putFolder } from '../store/folder.ts';
import type { WorkerContext } from './context.ts';
import type { Lease } from './lease.ts';
import type { Ledger } from './ledger.ts';
import type { QueuedJob } from './queuedJob.ts';

type Logs = NonNullable<JobResult['logs']>;
type Outputs = NonNullable<JobResult['outputs']>;

/** Rejects with `StoreError`. */
export async function keepOutputs(
  context: WorkerContext,
  queued: QueuedJob,
  run: Run,
  spec: JobSpec,
  ledger: Ledger,
  lease: Lease,
): Promise<Outputs> {
  const key = storeKeys.outputs(queued.id, queued.epoch);
  const kept = await putFolder(context.store, key, run.workspace, {
    include: spec.outputs,
    signal: lease.signal,
    onProgress: (doneBytes) => ledger.report({ step: 'keeping outputs', doneBytes, totalBytes: null }),
  });
  return { key, sizeBytes: kept.sizeBytes, files: kept.files, unmatched: [...kept.unmatched] };
}

/** Rejects with `StoreError`. */
export async function keepLogs(context: WorkerContext, queued: QueuedJob, run: Run, lease: Lease): Promise<Logs> {
  const keep = async (stream: 'stdout' | 'stderr') => {
    const key = storeKeys.log(queued.id, queued.epoch, stream);
    const { sizeBytes } = await context.store.putStream(key, createReadStream(run.logs[stream]), {
      signal: lease.signal,
    });
    return { key, sizeBytes };
  };
  const [stdout, stderr] = await Promise.all([keep('stdout'), keep('stderr')]);
  return { stdout, stderr };
}
