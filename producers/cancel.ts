/**
 * Cancelling. The request is left in the record first: a worker that claims the job looks there at once. Then the job is
 * taken out of its queue, which BullMQ refuses, atomically, while a worker holds its lock: that worker cancels it. Out
 * of the queue nobody can claim it any more, so it is ended from here; the result, create-only, decides against a
 * dead worker that had just committed one. Its checkpoints go last. Done again after a failure half-way, it goes on where it stopped.
 */
import { FloeError } from '../jobs/errors.ts';
import { sendRequest } from '../jobs/fleet.ts';
import { poolOfJobId, storeKeys } from '../jobs/names.ts';
import { endWithoutRun, type JobRecord } from '../jobs/record.ts';
import { JobResult } from '../jobs/result.ts';
import { isFinal } from '../jobs/state.ts';
import { removeAll } from '../store/removeAll.ts';
import { StoreError } from '../store/store.ts';
import type { Connections } from './connections.ts';
import { requireRecord } from './view.ts';

/** `cancelled`: it has ended. `requested`: its worker has been asked to stop it. */
export type Cancellation = 'cancelled' | 'requested';

export async function cancelJob(connections: Connections, id: string): Promise<Cancellation> {
  const record = await requireRecord(connections.redis, id);
  if (isFinal(record.state)) throw alreadyEnded(id, record.state);
  await sendRequest(connections.redis, { type: 'cancel', jobId: id });
  const queue = connections.queue(poolOfJobId(id));
  await queue.remove(id);
  if ((await queue.getJob(id)) !== undefined) return 'requested';
  const state = await endWithoutRun(connections.redis, await commitResult(connections, id, record));
  if (state !== 'cancelled') throw alreadyEnded(id, state);
  if (!record.keepsCheckpoints) await removeCheckpoints(connections, id);
  return 'cancelled';
}

/** What the store does not let go of now costs space and nothing else; `floe gc` removes it. */
async function removeCheckpoints(connections: Connections, id: string): Promise<void> {
  try {
    await removeAll(await connections.store(), storeKeys.checkpoints(id));
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
}

/**
 * Writes the result, or reads the one that was there before. Where workers sign theirs it is not read: whether it is authentic
 * cannot be told here, where there need be no key, and Redis knows of no end.
 */
async function commitResult(connections: Connections, id: string, record: JobRecord): Promise<JobResult> {
  const result: JobResult = {
    version: 1,
    jobId: id,
    outcome: 'cancelled',
    end: null,
    reason: { code: 'cancelled', message: 'Cancelled while no worker had it.' },
    epoch: record.epoch,
    worker: record.worker ?? '',
    finishedAt: new Date().toISOString(),
    outputs: null,
    logs: null,
    ...(record.keepsCheckpoints && { checkpointsKept: true }),
  };
  const store = await connections.store();
  try {
    await store.create(storeKeys.result(id), Buffer.from(JSON.stringify(result)));
    return result;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'exists') throw error;
    if (record.signedFrom !== null) return result;
    return JobResult.parse(JSON.parse(String(await store.get(storeKeys.result(id)))));
  }
}

function alreadyEnded(id: string, state: string): FloeError {
  return new FloeError('conflict', `${id} has ended already: ${state}.`, `See \`floe status ${id}\`.`);
}
