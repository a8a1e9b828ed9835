/** Whether a job has ended, as far as Redis and the store know. */
import type { Redis } from 'ioredis';
import { FloeError } from '../jobs/errors.ts';
import { poolOfJobId, storeKeys } from '../jobs/names.ts';
import { readRecord } from '../jobs/record.ts';
import { isFinal, type JobState } from '../jobs/state.ts';
import type { Connections } from '../producers/connections.ts';
import type { Store } from '../store/store.ts';
import { readResult } from '../workers/result.ts';
import type { KnownCheckpoints } from './checkpoints.ts';

/**
 * - `alive`: its record says that it has not ended.
 * - `ended`: its record says so, or its result where the record has expired.
 * - `unknown`: there is neither: Redis lost it, it was taken back, or it is another Redis's job.
 */
export type JobEnd =
  | { kind: 'alive'; state: JobState }
  | { kind: 'ended'; keepsCheckpoints: boolean }
  | { kind: 'unknown' };

/** Rejects with `StoreError`, and with `FloeError` `notFound` for what no job can be called. */
export async function readJobEnd(redis: Redis, store: Store, id: string): Promise<JobEnd> {
  poolOfJobId(id);
  const record = await readRecord(redis, id);
  if (record && !isFinal(record.state)) return { kind: 'alive', state: record.state };
  if (record) return { kind: 'ended', keepsCheckpoints: record.keepsCheckpoints };
  const result = await readResult(store, id);
  return result ? { kind: 'ended', keepsCheckpoints: result.checkpointsKept === true } : { kind: 'unknown' };
}

/** Rejects with `FloeError` `notFound` for a job that neither Redis nor the store has anything of. */
export async function requireKnown(connections: Connections, id: string): Promise<void> {
  const store = await connections.store();
  if ((await readJobEnd(connections.redis, store, id)).kind === 'unknown' && !(await hasObjects(store, id)))
    throw noSuchJob(id);
}

/** Of a job that Redis does not know, nothing is. */
export async function knownCheckpoints({ redis, config }: Connections, id: string): Promise<KnownCheckpoints> {
  const record = await readRecord(redis, id);
  const isAlive = record !== null && !isFinal(record.state);
  return {
    newest: isAlive ? record.checkpoint : null,
    isEncrypted: record?.checkpointIsEncrypted ?? false,
    encryptionKeys: config.encryption.key,
  };
}

export async function hasObjects(store: Store, id: string): Promise<boolean> {
  for await (const _ of store.list(storeKeys.job(id))) return true;
  return false;
}

export function noSuchJob(id: string): FloeError {
  return new FloeError('notFound', `There is no job "${id}".`, 'List the jobs with `floe ls`.');
}

export function noSuchCheckpoint(id: string, checkpoint: string): FloeError {
  const remedy = `List them with \`floe checkpoints ${id}\`.`;
  return new FloeError('notFound', `${id} has no checkpoint "${checkpoint}".`, remedy);
}
