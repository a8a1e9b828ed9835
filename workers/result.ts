/**
 * How a job ended, as the one object in the store that decides it.
 *
 * With a key it is signed, and one that is not authentic does not count: else whoever can write to the bucket could have a job end that runs.
 * What it names must be the job's own in any case.
 */
import { z } from 'zod';
import { MOST_CONTAINERS, type Signatures } from '../freezer/encryption/signature.ts';
import type { ProgramEnd as RuntimeEnd } from '../freezer/runtime.ts';
import { JobResult, storeKeys } from '../jobs/index.ts';
import { parseBounded } from '../store/boundedJson.ts';
import { readAtMost } from '../store/readAtMost.ts';
import { type Store, StoreError } from '../store/store.ts';
import type { WorkerContext } from './context.ts';
import type { QueuedJob } from './queuedJob.ts';

/** The words of `outputs` that matched nothing are in it, which are a part of a spec (jobs/bounds.ts). */
const MOST_RESULT_BYTES = 8 * 2 ** 20;

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
 * Creates the result, once for every job. Resolves to the one that counts: where another run was first, that run's. What is there
 * and is not authentic gives way. Rejects with `StoreError`, and as `Signatures`.
 */
export async function commitResult(store: Store, result: JobResult, signatures: Signatures): Promise<JobResult> {
  const key = storeKeys.result(result.jobId);
  const bytes = await signatures.sign(key, result);
  for (;;) {
    try {
      await store.create(key, bytes);
      return result;
    } catch (error) {
      if (!(error instanceof StoreError && error.code === 'exists')) throw error;
    }
    const committed = await readTrustedResult(store, result.jobId, signatures);
    if (committed) return committed;
    await store.delete([key]);
  }
}

/**
 * Null when the job has no result yet, or one that nobody who has the key wrote for it. Rejects with `StoreError` (`damaged` for what is no
 * result, `substituted` for one that names what is not the job's), and as `Signatures.read`.
 */
export async function readTrustedResult(
  store: Store,
  jobId: string,
  signatures: Signatures,
): Promise<JobResult | null> {
  if (!signatures.areWanted) return readResult(store, jobId);
  const key = storeKeys.result(jobId);
  const bytes = await readBytes(store, key).catch((error: unknown) => {
    if (error instanceof StoreError && error.code === 'damaged') return null;
    throw error;
  });
  const reading = bytes && (await signatures.read(key, bytes));
  return reading?.kind === 'signed' ? parseResult(key, jobId, reading.content) : null;
}

/** As `readTrustedResult`, whoever wrote it: to tell of it, and not to end a job. */
export async function readResult(store: Store, jobId: string): Promise<JobResult | null> {
  const key = storeKeys.result(jobId);
  const bytes = await readBytes(store, key);
  return bytes && parseResult(key, jobId, withoutSignature(key, bytes));
}

async function readBytes(store: Store, key: string): Promise<Buffer | null> {
  try {
    return await readAtMost(store, key, MOST_RESULT_BYTES);
  } catch (error) {
    if (error instanceof StoreError && error.code === 'notFound') return null;
    throw error;
  }
}

function withoutSignature(key: string, bytes: Buffer): unknown {
  try {
    const { signature: _, ...content } = z.looseObject({}).parse(parseBounded(bytes, MOST_CONTAINERS));
    return content;
  } catch (cause) {
    throw noResult(key, cause);
  }
}

function parseResult(key: string, jobId: string, content: unknown): JobResult {
  const parsed = JobResult.safeParse(content);
  if (!parsed.success) throw noResult(key, parsed.error);
  const foreign = foreignKeyOf(jobId, parsed.data);
  if (foreign === null) return parsed.data;
  const remedy = 'Find out who wrote to the store; remove that object, and the job goes on.';
  throw new StoreError('substituted', `${key} is not this job's result: it names ${foreign}.`, remedy);
}

/** Null where all that it names is the job's. */
function foreignKeyOf(jobId: string, { jobId: named, epoch, outputs, logs }: JobResult): string | null {
  if (named !== jobId) return named;
  const pairs = [
    [outputs?.key, storeKeys.outputs(jobId, epoch)],
    [logs?.stdout.key, storeKeys.log(jobId, epoch, 'stdout')],
    [logs?.stderr.key, storeKeys.log(jobId, epoch, 'stderr')],
  ];
  return pairs.find(([key, own]) => key !== undefined && key !== own)?.[0] ?? null;
}

function noResult(key: string, cause: unknown): StoreError {
  return new StoreError('damaged', `${key} is no result of this version.`, 'Update this worker.', { cause });
}
