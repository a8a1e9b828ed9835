/** Names of everything that producers, workers and the dashboard share: queues, job ids, Redis keys, store keys. */
import { randomInt } from 'node:crypto';
import { FloeError } from './errors.ts';
import { PoolName } from './spec.ts';

/** BullMQ's prefix. The braces put every key of Floe in one slot of a Redis Cluster, as multi-key scripts need. */
export const QUEUE_PREFIX = '{floe}';

const ID_ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';
const ID_LENGTH = 10;

/** A new job id, `<pool>-<10 random letters and digits>`: it tells the queue to look in, and needs no index. */
export function newJobId(pool: string): string {
  const letters = Array.from({ length: ID_LENGTH }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]);
  return `${pool}-${letters.join('')}`;
}

/** The pool of a job id. Throws `FloeError` `notFound` when no job can have that id. */
export function poolOfJobId(id: string): string {
  const cut = id.lastIndexOf('-');
  const pool = id.slice(0, Math.max(cut, 0));
  if (id.length - cut - 1 !== ID_LENGTH || !PoolName.safeParse(pool).success) {
    throw new FloeError('notFound', `There is no job "${id}".`, 'List the jobs with `floe ls`.');
  }
  return pool;
}

export const redisKeys = {
  /** Set of the pools that ever had a job. */
  pools: `${QUEUE_PREFIX}:pools`,
  /** Sorted set of job ids by the time of their submission, see list.ts. */
  jobs: `${QUEUE_PREFIX}:jobs`,
  /** Hash: the job's record, see record.ts. */
  record: (id: string) => `${QUEUE_PREFIX}:job:${id}`,
  /** Hash: epoch → JSON of a finished or current run, see record.ts. */
  runs: (id: string) => `${QUEUE_PREFIX}:job:${id}:runs`,
  /** Stream: what one run wrote to stdout and stderr, see log.ts. */
  log: (id: string, epoch: number) => `${QUEUE_PREFIX}:job:${id}:log:${epoch}`,
  /** What logs have in Redis, see logAccounts.ts. */
  logBytes: `${QUEUE_PREFIX}:logs:bytes`,
  logTotal: `${QUEUE_PREFIX}:logs:total`,
  logEnded: `${QUEUE_PREFIX}:logs:ended`,
  /** Stream: everything that happens to jobs, capped, see events.ts. */
  events: `${QUEUE_PREFIX}:events`,
  /** Hash: a worker's own description, expiring, see fleet.ts. */
  worker: (name: string) => `${QUEUE_PREFIX}:worker:${name}`,
  /** Set of worker names; those whose hash has expired are gone. */
  workers: `${QUEUE_PREFIX}:workers`,
  /** Publish/subscribe channel: a nudge to look at a job's or worker's requests. */
  requests: `${QUEUE_PREFIX}:requests`,
} as const;

/** Keys in the store. Epochs are padded so that the order of keys is the order of runs. */
export const storeKeys = {
  job: (id: string) => `jobs/${id}/`,
  input: (id: string) => `jobs/${id}/input.tar.zst`,
  outputs: (id: string, epoch: number) => `jobs/${id}/outputs/${padEpoch(epoch)}.tar.zst`,
  log: (id: string, epoch: number, stream: 'stdout' | 'stderr') => `jobs/${id}/log/${padEpoch(epoch)}/${stream}`,
  result: (id: string) => `jobs/${id}/result.json`,
  fences: (id: string) => `jobs/${id}/fence/`,
  fence: (id: string, epoch: number) => `jobs/${id}/fence/${padEpoch(epoch)}`,
  /** Where the checkpoint engine keeps what belongs to this job. */
  checkpoints: (id: string) => `jobs/${id}/checkpoints/`,
} as const;

export function padEpoch(epoch: number): string {
  return String(epoch).padStart(8, '0');
}
