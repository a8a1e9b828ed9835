/** What stays of a run when its program has ended: the outputs that the job names, and the complete log. */
import { Readable } from 'node:stream';
import { openLog } from '../freezer/index.ts';
import type { Run } from '../freezer/runtime.ts';
import { type JobResult, type JobSpec, storeKeys } from '../jobs/index.ts';
import { putFolder } from '../store/folder.ts';
import type { WorkerContext } from './context.ts';
import type { Lease } from './lease.ts';
import type { Ledger } from './ledger.ts';
import type { QueuedJob } from './queuedJob.ts';

type Logs = NonNullable<JobResult['logs']>;
type Outputs = NonNullable<JobResult['outputs']>;

/** Rejects with `StoreError`, or with the signal's reason. */
export async function keepOutputs(
  context: WorkerContext,
  queued: QueuedJob,
  run: Run,
  spec: JobSpec,
  ledger: Ledger,
  signal: AbortSignal,
): Promise<Outputs> {
  const key = storeKeys.outputs(queued.id, queued.epoch);
  const onProgress = (doneBytes: number) => ledger.report({ step: 'keeping outputs', doneBytes, totalBytes: null });
  // It may take a while to find them.
  onProgress(0);
  const kept = await putFolder(context.store, key, run.workspace, {
    include: spec.outputs,
    toolboxDirectory: context.toolboxDirectory,
    limits: { entries: context.disk.limitsFor(spec.resources.diskBytes).files },
    signal,
    onProgress,
  });
  const { sizeBytes, sha256, files, unmatched } = kept;
  const { count, examples } = kept.exceptions;
  return {
    ...{ key, sizeBytes, sha256, files, unmatched: [...unmatched] },
    ...(count > 0 ? { exceptions: { count, examples: [...examples] } } : {}),
  };
}

/** What a job could make a log of with one call, a hole of terabytes, is not read to its end. */
const LOG_BYTES = 16 * 1024 ** 3;

/** The first `atMostBytes` of each log are kept, by default 16 GiB. Rejects with `StoreError`. */
export async function keepLogs(
  context: WorkerContext,
  queued: QueuedJob,
  run: Run,
  lease: Lease,
  atMostBytes = LOG_BYTES,
): Promise<Logs> {
  const { signal } = lease;
  const keep = async (stream: 'stdout' | 'stderr') => {
    const key = storeKeys.log(queued.id, queued.epoch, stream);
    const body = await openBody(run.logs[stream], atMostBytes);
    try {
      const { sizeBytes } = await context.store.putStream(key, body, { signal });
      return { key, sizeBytes };
    } finally {
      body.destroy();
    }
  };
  const [stdout, stderr] = await Promise.all([keep('stdout'), keep('stderr')]);
  return { stdout, stderr };
}

/** A log that is no file any more is the job's doing, and no reason to try again or to lose the rest. */
async function openBody(path: string, atMostBytes: number): Promise<Readable> {
  let body: Readable;
  try {
    const file = await openLog(path);
    body = file.createReadStream({ start: 0, end: atMostBytes - 1 });
  } catch (error) {
    body = Readable.from([Buffer.from(`floe: the log cannot be read: ${error}\n`)], { objectMode: false });
  }
  // Whoever reads it hears of it; a store that fails before it reads does not, and need not.
  return body.on('error', () => undefined);
}
