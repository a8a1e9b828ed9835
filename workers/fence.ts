/**
 * Fences: `fence/<epoch>` in the store, one create-only object for every run, there before its program moves.
 *
 * A fence divides what counts from what does not. It says "run N exists, and its history continues from checkpoint C".
 * From then on nothing that an older run still writes can be read by a newer one: see `candidates.ts` for how restore
 * walks the fences. The fence is created before the thaw, so it names the checkpoint that will be tried first. When that
 * one fails and the run falls back to an older one, the name stays, and that is safe: whoever reads this fence later
 * sees the run's own checkpoints, then C, then what C's history says, and all of them were committed by the
 * run that owned the job at that time. A fence never makes a stale checkpoint readable, which is all that it is for.
 *
 * The epoch comes from Redis. Should Redis lose data and count again from a lower number, the create fails with
 * `exists`, and the job goes back to the queue until its epoch is new.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { padEpoch, storeKeys } from '../jobs/index.ts';
import { type Store, StoreError } from '../store/store.ts';

export const Fence = z.strictObject({
  version: z.literal(1),
  epoch: z.int(),
  worker: z.string(),
  /** The checkpoint that the run was going to thaw; null for a start from the beginning. */
  thawsFrom: z.string().nullable(),
  /** ms since 1970. */
  at: z.int(),
});
export type Fence = z.output<typeof Fence>;

/** False when another run has this epoch already. Rejects with `StoreError` when the store fails. */
export async function createFence(store: Store, jobId: string, fence: Fence): Promise<boolean> {
  const key = storeKeys.fence(jobId, fence.epoch);
  try {
    await store.create(key, Buffer.from(JSON.stringify(fence)));
    return true;
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'exists')) throw error;
    // A create whose answer was lost is repeated by the driver: then the object that exists is this one.
    return isDeepStrictEqual(parseFence(key, await store.get(key)), fence);
  }
}

/** The fences of runs before `epoch`, newest first. Rejects with `StoreError`; `damaged` for what is no fence. */
export async function readFences(store: Store, jobId: string, epoch: number): Promise<Fence[]> {
  const keys: string[] = [];
  for await (const object of store.list(storeKeys.fences(jobId))) {
    if (object.key < storeKeys.fence(jobId, epoch)) keys.push(object.key);
  }
  const fences = await Promise.all(keys.map(async (key) => parseFence(key, await store.get(key))));
  return fences.sort((a, b) => b.epoch - a.epoch);
}

/** The newest run that there is, by its fence; 0 before the first. Rejects with `StoreError`. */
export async function newestEpoch(store: Store, jobId: string): Promise<number> {
  let newest = 0;
  for await (const { key } of store.list(storeKeys.fences(jobId)))
    newest = Number(key.slice(storeKeys.fences(jobId).length));
  return newest;
}

/** The epoch in a checkpoint id, `<epoch>-<sequence>`. */
export function epochOfCheckpoint(id: string): number {
  return Number.parseInt(id.slice(0, padEpoch(0).length), 10);
}

/** Guessing at an unreadable fence would mean to lose the work behind it, or to have two histories. */
function parseFence(key: string, bytes: Buffer): Fence {
  try {
    return Fence.parse(JSON.parse(bytes.toString()));
  } catch (cause) {
    throw new StoreError('damaged', `${key} is no fence of this version.`, 'Update this worker, or cancel the job.', {
      cause,
    });
  }
}
