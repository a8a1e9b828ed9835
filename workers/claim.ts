/**
 * What is to be done with a job that came out of the queue: the first thing that applies.
 *
 * 1. There is no record, or it says that the job has ended: `gone`.
 * 2. Its epoch is not new, because Redis lost data: `staleEpoch`; the next fetch has a higher one.
 * 3. The store has its result, authentic where there is a key: a worker died between the result and the queue: `settled`, and the
 *    result is reported.
 * 4. Somebody asked to cancel it, or it cannot be understood: `settled`.
 * 5. The run before vanished. That is written down, and beyond the job's crash budget: `settled`.
 * 6. Its newest checkpoint needs CPU features that this machine lacks: `unfit`, until its patience is over.
 * 7. This run is fenced: `mine`, with the checkpoints that it may thaw.
 *
 * Where this worker's keys do not open what the store has of the job, or that is no fence or result, nothing can be said: `blocked`.
 */
import { type CheckpointSummary, FreezerError, listCheckpoints } from '../freezer/index.ts';
import {
  explainIssues,
  FloeError,
  isFinal,
  JobData,
  type JobRecord,
  type JobResult,
  type JobSpec,
  OwnedRecord,
  type RunRecord,
  readRecord,
  readRuns,
  storeKeys,
} from '../jobs/index.ts';
import { StoreError } from '../store/store.ts';
import { candidatesFor, cpuCovers } from './candidates.ts';
import type { WorkerContext } from './context.ts';
import { createFence, listFences, oldestEpoch, readTrustedFences } from './fence.ts';
import type { Lease } from './lease.ts';
import { type Crash, Ledger } from './ledger.ts';
import type { QueuedJob } from './queuedJob.ts';
import { readTrustedResult, resultWithoutEnd } from './result.ts';
import { missingFence, notGivenUp } from './rollback.ts';

export type Claim =
  | { kind: 'gone'; record: JobRecord | null }
  | { kind: 'staleEpoch' }
  | { kind: 'settled'; ledger: Ledger; result: JobResult }
  | { kind: 'unfit'; missing: string[] }
  | { kind: 'blocked'; ledger: Ledger; error: FreezerError | StoreError }
  | { kind: 'mine'; ledger: Ledger; before: JobRecord; data: JobData; history: History };

export interface History {
  /** What may be thawed, best first. */
  readonly candidates: CheckpointSummary[];
  /** The newest checkpoint that was known, where it is not among them any more. */
  readonly missing: string | null;
  /** With a key: the newest that Redis knows. None that is older is thawed unless that was found and was authentic. */
  readonly newestKnown: string | null;
  /** Why the store's history is older than what Redis knows, where it is; there are no candidates then. */
  readonly rolledBack: string | null;
}

const NO_HISTORY: History = { candidates: [], missing: null, newestKnown: null, rolledBack: null };

/** Rejects with `lost`, and with `StoreError` or `FreezerError` when the store fails. */
export async function claimJob(context: WorkerContext, queued: QueuedJob, lease: Lease): Promise<Claim> {
  const { redis } = context;
  const record = await lease.insist(() => readRecord(redis, queued.id));
  if (record === null || isFinal(record.state)) return { kind: 'gone', record };
  const claimed = await own(context, queued, lease);
  if (claimed === null) return { kind: 'staleEpoch' };

  const [owned, before] = claimed;
  const signs = context.signatures.areWanted;
  const ledger = new Ledger(queued, owned, before, lease, { worker: context.worker, signs });
  try {
    return await consider(context, queued, lease, { ledger, before });
  } catch (error) {
    if (!isBlocking(error)) throw error;
    return { kind: 'blocked', ledger, error };
  }
}

/** To be told in the record: the job waits until somebody has mended it. */
function isBlocking(error: unknown): error is FreezerError | StoreError {
  if (error instanceof FreezerError) return error.code === 'wrongKey' || error.code === 'otherStore';
  return error instanceof StoreError && (error.code === 'damaged' || error.code === 'substituted');
}

async function consider(
  context: WorkerContext,
  queued: QueuedJob,
  lease: Lease,
  { ledger, before }: { ledger: Ledger; before: JobRecord },
): Promise<Claim> {
  const { store, signatures } = context;
  const settled = (result: JobResult): Claim => ({ kind: 'settled', ledger, result });
  const fail = (code: string, message: string) =>
    settled(resultWithoutEnd(context, queued, 'failed', { code, message }));

  const committed = await readTrustedResult(store, queued.id, signatures);
  if (committed) return settled(committed);
  if (before.cancelRequestedAt !== null) return settled(cancelledResult(context, queued));
  const data = JobData.safeParse(queued.data);
  if (!data.success) return fail('invalidJob', `The job is not valid: ${explainIssues(data.error, queued.data)}.`);

  const crash = await findCrash(context, queued.id, before, lease);
  if (crash) await ledger.crashed(crash, before.checkpoint === null ? 'queued' : 'frozen');
  if (ledger.crashes > data.data.spec.crashBudget) return fail('crashBudget', crashBudgetMessage(ledger.crashes));

  const history = before.afresh ? NO_HISTORY : await readHistory(context, queued, before, lease);
  const fit = fitOf(context.cpuFeatures, history, before, data.data.spec);
  if (fit.kind === 'unfit') {
    await ledger.waitsForCpu();
    return fit;
  }
  const thawsFrom = fit.history.candidates[0]?.id ?? null;
  const fence = { version: 1, epoch: queued.epoch, worker: context.worker, thawsFrom, at: Date.now() } as const;
  if (!(await createFence(store, queued.id, fence, signatures))) return { kind: 'staleEpoch' };
  return { kind: 'mine', ledger, before, data: data.data, history: fit.history };
}

export function cancelledResult(context: WorkerContext, queued: QueuedJob): JobResult {
  return resultWithoutEnd(context, queued, 'cancelled', { code: 'cancelled', message: 'Cancelled by request.' });
}

export function crashBudgetMessage(crashes: number): string {
  return `Its workers crashed ${crashes} times, more often than its crashBudget allows.`;
}

async function own(context: WorkerContext, queued: QueuedJob, lease: Lease): Promise<[OwnedRecord, JobRecord] | null> {
  try {
    return await lease.insist(() => OwnedRecord.claim(context.redis, queued.id, queued.epoch));
  } catch (error) {
    if (!lease.signal.aborted && error instanceof FloeError && error.code === 'lost') return null;
    throw error;
  }
}

/**
 * The newest run, if the record says that it was at work: had it ended in any other way, it would have said so. Claims that
 * failed may have come since, so its epoch need not be the record's.
 */
async function findCrash(context: WorkerContext, id: string, before: JobRecord, lease: Lease): Promise<Crash | null> {
  if (before.epoch === 0 || !['running', 'freezing', 'thawing'].includes(before.state)) return null;
  const runs = await lease.insist(() => readRuns(context.redis, id));
  const run = runs.findLast((each) => each.epoch <= before.epoch && each.end === null);
  return run ? closeCrashed(run, before) : { run: null, lostMs: 0 };
}

function closeCrashed(run: RunRecord, before: JobRecord): Crash {
  const endedAt = Math.max(before.aliveAt ?? 0, run.startedAt);
  const lostMs = Math.max(0, endedAt - Math.max(before.checkpointAt ?? 0, run.startedAt));
  return { run: { ...run, end: 'crashed', endedAt, lostMs }, lostMs };
}

async function readHistory(
  context: WorkerContext,
  queued: QueuedJob,
  before: JobRecord,
  lease: Lease,
): Promise<History> {
  const { store, signatures, redis } = context;
  const { checkpoint: newest, signedFrom, checkpointIsEncrypted } = before;
  const firstSigned = signedFrom ?? before.epoch + 1;
  const mayBeUnsigned = (epoch: number) => epoch < firstSigned || (signatures.readUnsigned && !checkpointIsEncrypted);
  const listed = await listFences(store, queued.id, queued.epoch);
  // A job that no run has fenced has no history, and most jobs are of that kind.
  const checkpoints = listed.length === 0 ? [] : await listCheckpoints(store, storeKeys.checkpoints(queued.id));
  const runs = !signatures.areWanted || before.epoch === 0 ? [] : await lease.insist(() => readRuns(redis, queued.id));
  const known = { epoch: before.epoch, checkpoint: newest, lastRun: runs.at(-1) ?? null };
  const range = { listed, since: oldestEpoch(checkpoints) };
  const trust = { signatures, mayBeUnsigned, lastRun: known.lastRun?.epoch ?? null };
  const found = await readTrustedFences(store, queued.id, range, trust);
  const all = candidatesFor(queued.epoch, found.fences, checkpoints);
  const missing = newest !== null && !all.some(({ id }) => id === newest) ? newest : null;
  if (!signatures.areWanted) return { ...NO_HISTORY, candidates: all, missing };
  const rolledBack = missingFence(known, found);
  const candidates = rolledBack === null ? notGivenUp(known, all) : [];
  return { candidates, missing, newestKnown: newest, rolledBack };
}

/** Pure: whether this machine can thaw the best checkpoint, and what the job's policy says where it cannot. */
function fitOf(
  offered: readonly string[],
  history: History,
  before: JobRecord,
  spec: JobSpec,
): { kind: 'fit'; history: History } | { kind: 'unfit'; missing: string[] } {
  const best = history.candidates[0];
  // What Redis says of it is to be believed, and anybody could have written what the store says.
  const needed = best?.id === before.checkpoint && before.cpuFeatures ? before.cpuFeatures : best?.cpuFeatures;
  if (!needed || cpuCovers(offered, needed)) return { kind: 'fit', history };
  const { patienceMs, ifNoWorkerFits } = spec.checkpoint;
  const waitedMs = Date.now() - (before.frozenSince ?? Date.now());
  if (ifNoWorkerFits === 'afresh' && waitedMs >= patienceMs) return { kind: 'fit', history: NO_HISTORY };
  return { kind: 'unfit', missing: needed.filter((feature) => !offered.includes(feature)) };
}
