/**
 * Whether the store has been put back to an older state of the job than Redis knows of.
 *
 * The key proves who wrote an object, and not that it is the newest: whoever can write to the bucket can remove what is newer.
 * Redis is trusted, and knows two things of a job's history. With a key, both must be in the store:
 *
 *   - the fence of the last run whose program moved: without it, an older run's history would count;
 *   - the newest checkpoint. One that is older is thawed only if the newest was found, was authentic, and could not be restored.
 *
 * Else nothing older is thawed: `checkpoint.ifUnusable` of the job says whether it fails (`checkpointRolledBack`) or starts afresh. Nor is
 * a checkpoint of runs before the last one that started afresh: that history was given up.
 *
 * Where the store has an authentic fence of a run that Redis does not know, it is Redis that has lost data: what is authentic then
 * counts. Without a key nothing can be told apart from what an attacker wrote, and an older checkpoint is taken, as after damage.
 */
import type { CheckpointSummary } from '../freezer/runtime.ts';
import type { TrustedFences } from './fence.ts';

export const ROLLED_BACK = 'checkpointRolledBack';

/** What Redis knew before this run claimed the job. */
export interface KnownHistory {
  readonly epoch: number;
  /** The newest committed checkpoint. */
  readonly checkpoint: string | null;
  /** The newest run whose program moved. */
  readonly lastRun: { readonly epoch: number } | null;
}

/** Pure. Null when the fences are as new as Redis knows; else why not, one sentence. */
export function missingFence({ epoch, lastRun }: KnownHistory, { fences, refused }: TrustedFences): string | null {
  if (lastRun === null || (fences[0]?.epoch ?? 0) > epoch) return null;
  if (fences.some((fence) => fence.epoch === lastRun.epoch)) return null;
  const why = refused.get(lastRun.epoch);
  return `The fence of run ${lastRun.epoch}, the last one, ${why ? `is not authentic: ${why}` : 'is gone'}.`;
}

/** Pure: without those that a run gave up which started afresh and has no checkpoint yet. */
export function notGivenUp(
  { checkpoint, lastRun }: KnownHistory,
  candidates: readonly CheckpointSummary[],
): CheckpointSummary[] {
  const first = checkpoint === null ? (lastRun?.epoch ?? 0) : 0;
  return candidates.filter(({ epoch }) => epoch >= first);
}
