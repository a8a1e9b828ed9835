/**
 * Submission. Order: every spec is parsed; inputs are uploaded; records are written; the queue is told last, because
 * from then on a worker may start. Whatever fails before leaves nothing: records go first, so that no job is seen
 * without its input, then the inputs. If Redis is gone by then, the inputs stay: the job may be in the queue after all.
 */
import { stat } from 'node:fs/promises';
import pLimit from 'p-limit';
import { FloeError } from '../jobs/errors.ts';
import { newJobId, storeKeys } from '../jobs/names.ts';
import { displayName, type JobData, queueOptions } from '../jobs/queue.ts';
import { createRecords, removeRecords } from '../jobs/record.ts';
import { type JobSpec, type JobSpecInput, parseJobSpec } from '../jobs/spec.ts';
import { type Exceptions, putFolder } from '../store/folder.ts';
import type { Connections } from './connections.ts';

const UPLOADS_AT_ONCE = 4;
/** Jobs that are added in one transaction. */
const BATCH_LENGTH = 500;

export interface Submission {
  readonly spec: JobSpecInput;
  /** Folder whose content the job finds in `/workspace`; it is uploaded as it is now. Default: an empty workspace. */
  readonly workspace?: string | undefined;
}

export interface SubmitOptions {
  /** Cancels the upload; nothing is left then. */
  readonly signal?: AbortSignal;
  /** Called as uploads go on, with the bytes read so far of all workspaces together. */
  readonly onProgress?: (doneBytes: number) => void;
  /** Called for a workspace of which something is not stored, or not as it was: pipes, sockets, devices, what changes meanwhile. */
  readonly onExceptions?: (workspace: string, exceptions: Exceptions) => void;
}

interface PreparedJob {
  readonly id: string;
  readonly spec: JobSpec;
  readonly workspace: string | undefined;
  input: JobData['input'];
}

/** Resolves to the ids, in the order given. */
export async function submitAll(
  connections: Connections,
  submissions: readonly Submission[],
  options: SubmitOptions,
): Promise<string[]> {
  const jobs = submissions.map(({ spec, workspace }): PreparedJob => {
    const parsed = parseJobSpec(spec);
    return { id: newJobId(parsed.pool), spec: parsed, workspace, input: null };
  });
  for (const folder of new Set(jobs.map((job) => job.workspace))) if (folder !== undefined) await checkFolder(folder);
  await orElse(
    () => uploadInputs(connections, jobs, options),
    () => removeInputs(connections, jobs),
  );
  await orElse(
    () => enqueueAll(connections, jobs),
    async () => {
      await removeJobs(connections, jobs);
      await removeInputs(connections, jobs);
    },
  );
  return jobs.map((job) => job.id);
}

async function checkFolder(folder: string): Promise<void> {
  const found = await stat(folder).catch((cause: Error) => cause);
  if (!(found instanceof Error) && found.isDirectory()) return;
  const reason = found instanceof Error ? found.message : 'it is not a folder';
  throw new FloeError('invalidJob', `workspace: must be a folder, got "${folder}" (${reason}).`, 'Correct the path.');
}

async function uploadInputs(
  connections: Connections,
  jobs: readonly PreparedJob[],
  options: SubmitOptions,
): Promise<void> {
  const limit = pLimit(UPLOADS_AT_ONCE);
  const done = new Map<string, number>();
  const failure = new AbortController();
  const signal = AbortSignal.any([failure.signal, ...(options.signal ? [options.signal] : [])]);
  const uploads = jobs.map((job) =>
    limit(async () => {
      if (job.workspace === undefined) return;
      signal.throwIfAborted();
      const key = storeKeys.input(job.id);
      const { sizeBytes, sha256, exceptions } = await putFolder(await connections.store(), key, job.workspace, {
        signal,
        toolboxDirectory: connections.config.toolbox,
        onProgress: (bytes) => {
          done.set(job.id, bytes);
          options.onProgress?.(done.values().reduce((sum, each) => sum + each, 0));
        },
      });
      job.input = { key, sizeBytes, sha256 };
      if (exceptions.count > 0) options.onExceptions?.(job.workspace, exceptions);
    }).catch((error: unknown) => {
      failure.abort(error); // one failed: the others need not go on
      throw error;
    }),
  );
  // All of them have ended before anybody cleans up behind them.
  const rejected = (await Promise.allSettled(uploads)).find((upload) => upload.status === 'rejected');
  if (rejected) throw failure.signal.aborted ? failure.signal.reason : rejected.reason;
}

async function enqueueAll(connections: Connections, jobs: readonly PreparedJob[]): Promise<void> {
  for (let at = 0; at < jobs.length; at += BATCH_LENGTH) await enqueue(connections, jobs.slice(at, at + BATCH_LENGTH));
}

async function enqueue(connections: Connections, jobs: readonly PreparedJob[]): Promise<void> {
  await createRecords(
    connections.redis,
    jobs.map(({ id, spec }) => ({ id, name: displayName(spec), keepsCheckpoints: spec.checkpoint.keepAtEnd })),
  );
  const byPool = Map.groupBy(jobs, (job) => job.spec.pool);
  for (const [pool, members] of byPool) {
    await connections.queue(pool).addBulk(
      members.map(({ id, spec, input }) => ({
        name: displayName(spec),
        data: { spec, input, submittedAt: Date.now() },
        opts: queueOptions(id, spec),
      })),
    );
  }
}

async function removeJobs(connections: Connections, jobs: readonly PreparedJob[]): Promise<void> {
  await connections.redis.ping(); // a queue waits for a connection that was lost; this does not
  for (const { id, spec } of jobs) await connections.queue(spec.pool).remove(id);
  const ids = jobs.map((job) => job.id);
  await removeRecords(connections.redis, ids);
}

async function removeInputs(connections: Connections, jobs: readonly PreparedJob[]): Promise<void> {
  const uploaded = jobs.filter((job) => job.workspace !== undefined);
  if (uploaded.length === 0) return;
  const store = await connections.store();
  await store.delete(uploaded.map((job) => storeKeys.input(job.id)));
}

/** Undoes what failed. The first failure is what the caller must hear; what could not be cleaned up goes with it. */
async function orElse(work: () => Promise<void>, undo: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await undo().catch((second: unknown) => {
      if (error instanceof Error) error.cause ??= second;
    });
    throw error;
  }
}
