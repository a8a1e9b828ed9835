/** The workers that are there, and how to ask something of them or of a job's owner. */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { redisKeys } from './names.ts';

/** A worker that has not said anything for this long is gone. */
export const WORKER_EXPIRY_MS = 15_000;

export const WorkerDescription = z.object({
  name: z.string(),
  host: z.string(),
  pid: z.int(),
  pools: z.array(z.string()),
  slots: z.int(),
  /** Ids of the jobs it runs at the moment. */
  jobs: z.array(z.string()),
  /** `draining`: it takes no more jobs and gives back what it has. */
  state: z.enum(['ready', 'draining']),
  /** Why it drains: the source of the notice, and its deadline in ms since 1970 where one is known. */
  notice: z.object({ source: z.string(), deadlineAt: z.int().nullable() }).nullable(),
  runtime: z.string(),
  criuVersion: z.string(),
  cpuFeatures: z.array(z.string()),
  startedAt: z.int(),
  heartbeatAt: z.int(),
});
export type WorkerDescription = z.output<typeof WorkerDescription>;

export async function announceWorker(redis: Redis, description: WorkerDescription): Promise<void> {
  const key = redisKeys.worker(description.name);
  await redis
    .multi()
    .sadd(redisKeys.workers, description.name)
    .hset(key, 'description', JSON.stringify(description))
    .pexpire(key, WORKER_EXPIRY_MS)
    .exec();
}

export async function retireWorker(redis: Redis, name: string): Promise<void> {
  await redis.multi().srem(redisKeys.workers, name).del(redisKeys.worker(name)).exec();
}

/** Every worker that is alive, by name. Names of vanished workers are forgotten on the way. */
export async function listWorkers(redis: Redis): Promise<WorkerDescription[]> {
  const names = (await redis.smembers(redisKeys.workers)).sort();
  const found = await Promise.all(names.map((name) => redis.hget(redisKeys.worker(name), 'description')));
  const gone = names.filter((_, at) => found[at] === null);
  if (gone.length > 0) await redis.srem(redisKeys.workers, ...gone);
  return found.flatMap((text) => (text == null ? [] : [WorkerDescription.parse(JSON.parse(text))]));
}

export const Request = z.discriminatedUnion('type', [
  z.object({ type: z.literal('cancel'), jobId: z.string() }),
  z.object({ type: z.literal('checkpoint'), jobId: z.string() }),
  z.object({ type: z.literal('drain'), worker: z.string() }),
]);
export type Request = z.output<typeof Request>;

const REQUEST = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1`;

/**
 * Leaves the request where the owner looks at every lock renewal, and nudges it to look now: a nudge that is lost
 * (publish/subscribe keeps nothing) only costs time. False, and nothing is left, when there is no such job or worker.
 */
export async function sendRequest(redis: Redis, request: Request): Promise<boolean> {
  const field = { cancel: 'cancelRequestedAt', checkpoint: 'checkpointRequestedAt', drain: 'drainRequestedAt' }[
    request.type
  ];
  const key = request.type === 'drain' ? redisKeys.worker(request.worker) : redisKeys.record(request.jobId);
  const nudge = JSON.stringify(request);
  return (await redis.eval(REQUEST, 1, key, field, Date.now(), redisKeys.requests, nudge)) === 1;
}

/** Whether somebody asked this worker to drain. */
export async function isDrainRequested(redis: Redis, name: string): Promise<boolean> {
  return (await redis.hexists(redisKeys.worker(name), 'drainRequestedAt')) === 1;
}
