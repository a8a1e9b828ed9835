/**
 * The sweep: removes what no manifest names, and the checkpoints of jobs that have ended. Safe beside jobs that run: see
 * freezer/checkpoint/retention.ts for what may be an upload under way. Inputs, outputs, logs, results and fences stay.
 */
import type { Redis } from 'ioredis';
import {
  carryOut,
  type Holdings,
  planRemoval,
  type Removed,
  readHoldings,
  removeAll,
  sumOf,
  sweepLeftovers,
} from '../freezer/checkpoint/retention.ts';
import { FreezerError } from '../freezer/errors.ts';
import { FloeError } from '../jobs/errors.ts';
import { poolOfJobId, storeKeys } from '../jobs/names.ts';
import { type Store, StoreError } from '../store/store.ts';
import { newestEpoch } from '../workers/fence.ts';
import { type JobEnd, readJobEnd } from './jobEnd.ts';

export interface GarbageOptions {
  readonly redis: Redis;
  readonly store: Store;
  /** Only tells what would go. */
  readonly isDryRun: boolean;
  /** What is younger stays, ms. */
  readonly olderThanMs: number;
  /** The same for jobs that neither Redis nor a result knows: they may be another Redis's. */
  readonly unknownOlderThanMs: number;
}

/**
 * What went, or would go, of one job.
 * - `leftovers`: parts of uploads that failed.
 * - `unreadable`: nothing went, because an object of the job is not what it should be; `problem` says which.
 */
export interface Garbage extends Removed {
  readonly id: string;
  readonly why: 'leftovers' | 'ended' | 'unknown' | 'unreadable';
  readonly problem?: string;
}

/** One job after the other; only those of which something goes, or nothing can. Rejects with `StoreError` or `FreezerError`. */
export async function* collectGarbage(options: GarbageOptions): AsyncGenerator<Garbage, void> {
  for (const id of await jobsWithCheckpoints(options.store)) {
    const garbage = await collectFrom(id, options).catch((error: unknown) => leftAlone(id, error));
    if (garbage.objects > 0 || garbage.why === 'unreadable') yield garbage;
  }
}

/** One job's broken object must not keep the others' garbage. Throws what is the store's own failure. */
function leftAlone(id: string, error: unknown): Garbage {
  const cause = error instanceof FreezerError && error.cause instanceof StoreError ? error.cause : error;
  if (!(cause instanceof StoreError) || !['damaged', 'substituted'].includes(cause.code)) throw error;
  return { id, why: 'unreadable', objects: 0, sizeBytes: 0, problem: cause.message };
}

async function collectFrom(id: string, options: GarbageOptions): Promise<Garbage> {
  const { redis, store, isDryRun } = options;
  const end = await readJobEnd(redis, store, id);
  const newest = await newestEpoch(store, id); // before the holdings, as sweepLeftovers asks for
  const holdings = await readHoldings(store, storeKeys.checkpoints(id));
  const rule = ruleFor(end, newest, holdings, options);
  const removal = planRemoval(holdings, rule);
  const removed = isDryRun ? sumOf(removal) : await carryOut(store, removal);
  const isOver = end.kind === 'unknown' || (end.kind === 'ended' && !end.keepsCheckpoints);
  return { id, why: isOver ? end.kind : 'leftovers', ...removed };
}

function ruleFor(end: JobEnd, newest: number, holdings: Holdings, options: GarbageOptions) {
  const ago = (ageMs: number) => new Date(Date.now() - ageMs);
  if (end.kind === 'alive') return sweepLeftovers(holdings, newest, ago(options.olderThanMs));
  // No run of it uploads any more but stale ones.
  const leftovers = sweepLeftovers(holdings, Number.POSITIVE_INFINITY, ago(options.olderThanMs));
  if (end.kind === 'ended' && end.keepsCheckpoints) return leftovers;
  const limit = ago(end.kind === 'ended' ? options.olderThanMs : options.unknownOlderThanMs);
  const all = [...holdings.manifests, ...holdings.indexes, ...holdings.packs];
  const isOld = all.every(({ modifiedAt }) => modifiedAt < limit);
  if (isOld) return removeAll();
  return end.kind === 'ended' ? leftovers : { dooms: () => false, sweeps: () => false };
}

async function jobsWithCheckpoints(store: Store): Promise<string[]> {
  const ids = new Set<string>();
  for await (const { key } of store.list('jobs/')) {
    const [, id] = /^jobs\/([^/]+)\/checkpoints\//.exec(key) ?? [];
    if (id !== undefined && isJobId(id)) ids.add(id);
  }
  return [...ids];
}

/** Other things in the store are not Floe's to remove. */
function isJobId(id: string): boolean {
  try {
    return poolOfJobId(id) !== '';
  } catch (error) {
    if (error instanceof FloeError) return false;
    throw error;
  }
}
