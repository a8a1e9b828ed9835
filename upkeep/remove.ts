/** Removing what a job keeps. Only of jobs that have ended: what lives is ended by cancelling it. */
import {
  carryOut,
  planRemoval,
  type RemovalRule,
  type Removed,
  readHoldings,
  removeAll,
  removeOnly,
} from '../freezer/checkpoint/retention.ts';
import { FloeError } from '../jobs/errors.ts';
import { poolOfJobId, storeKeys } from '../jobs/names.ts';
import { forgetJob } from '../jobs/record.ts';
import type { Connections } from '../producers/connections.ts';
import { removeAll as removeAllObjects } from '../store/removeAll.ts';
import type { Store } from '../store/store.ts';
import { hasObjects, noSuchCheckpoint, noSuchJob, readJobEnd } from './jobEnd.ts';

/**
 * Everything: in the store its checkpoints first and its result last, then its record. Done again after a failure half-way,
 * it goes on where it stopped. Rejects with `FloeError` `notFound` or `conflict`, `StoreError`, `FreezerError`.
 */
export async function removeJob(connections: Connections, id: string): Promise<Removed> {
  const store = await requireEnded(connections, id);
  const checkpoints = await remove(store, id, removeAll());
  // In the order of keys, in which result.json comes last: as long as it is there, the job is known to have ended.
  const rest = await removeAllObjects(store, storeKeys.job(id));
  await connections.queue(poolOfJobId(id)).remove(id);
  await forgetJob(connections.redis, id);
  return {
    objects: checkpoints.objects + rest.objects,
    sizeBytes: checkpoints.sizeBytes + rest.sizeBytes,
  };
}

/** One checkpoint, or all. Rejects as `removeJob` does. */
export async function removeCheckpoints(connections: Connections, id: string, checkpoint?: string): Promise<Removed> {
  const store = await requireEnded(connections, id);
  if (checkpoint === undefined) return remove(store, id, removeAll());
  const removed = await remove(store, id, removeOnly([checkpoint]));
  if (removed.objects === 0) throw noSuchCheckpoint(id, checkpoint);
  return removed;
}

async function remove(store: Store, id: string, rule: RemovalRule): Promise<Removed> {
  return carryOut(store, planRemoval(await readHoldings(store, storeKeys.checkpoints(id)), rule));
}

async function requireEnded(connections: Connections, id: string): Promise<Store> {
  const store = await connections.store();
  const end = await readJobEnd(connections.redis, store, id);
  if (end.kind === 'ended') return store;
  if (end.kind === 'alive') {
    const remedy = `End it with \`floe cancel ${id}\`, or wait for its end with \`floe wait ${id}\`.`;
    throw new FloeError('conflict', `${id} has not ended: it is ${end.state}.`, remedy);
  }
  if (!(await hasObjects(store, id))) throw noSuchJob(id);
  const remedy =
    'Look whether --redis-url is the right one; `floe gc` removes its checkpoints when they are a day old.';
  throw new FloeError('conflict', `Redis does not know ${id}, and it has left no result.`, remedy);
}
