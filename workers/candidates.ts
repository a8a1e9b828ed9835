/**
 * Which checkpoints a run may thaw, in the order in which it tries them.
 *
 * Let F be the newest fence below the run's own epoch. What counts is the history that F continues:
 *   1. the checkpoints that F's run committed itself, newest first;
 *   2. the checkpoint C that F names, then older ones of C's run;
 *   3. the one that the fence of C's run names, and so on back to a run that began from the beginning.
 *
 * A checkpoint of any other run was committed by a worker that had lost the job before F was created: it is passed by,
 * however new it is. So are those of C's run that came after C, for F did not see them: F's run made progress without
 * them, and there must not be two histories. A newer fence always wins, because its run may have made progress.
 */
import type { CheckpointSummary } from '../freezer/runtime.ts';
import { epochOfCheckpoint, type Fence } from './fence.ts';

/** Pure. `fences` and `checkpoints` in any order; ids of checkpoints sort by the order in which they were taken. */
export function candidatesFor(
  epoch: number,
  fences: readonly Fence[],
  checkpoints: readonly CheckpointSummary[],
): CheckpointSummary[] {
  const byEpoch = new Map(fences.filter((fence) => fence.epoch < epoch).map((fence) => [fence.epoch, fence]));
  const found: CheckpointSummary[] = [];
  let at = Math.max(0, ...byEpoch.keys());
  let newest: string | null = null;
  while (at > 0) {
    found.push(...checkpointsOf(at, newest, checkpoints));
    newest = byEpoch.get(at)?.thawsFrom ?? null;
    const before = newest === null ? 0 : epochOfCheckpoint(newest);
    at = before < at ? before : 0; // history only goes back; anything else is damage
  }
  return found;
}

/** Whether a CPU with `offered` features can run a program that may use `needed`. */
export function cpuCovers(offered: readonly string[], needed: readonly string[]): boolean {
  const has = new Set(offered);
  return needed.every((feature) => has.has(feature));
}

function checkpointsOf(epoch: number, newest: string | null, all: readonly CheckpointSummary[]): CheckpointSummary[] {
  return all
    .filter((checkpoint) => checkpoint.epoch === epoch && (newest === null || checkpoint.id <= newest))
    .sort((a, b) => (a.id < b.id ? 1 : -1));
}
