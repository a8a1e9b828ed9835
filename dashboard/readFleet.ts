/** Reads what the fleet page shows. */
import type { JobType, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import {
  isFinal,
  JobEvent,
  type JobRecord,
  JobState,
  listRecords,
  listWorkers,
  redisKeys,
  type WorkerDescription,
} from '../jobs/index.ts';
import type { Pools } from './pools.ts';

/** How many jobs the page shows; the queues page has all. */
const UNFINISHED_LISTED = 100;
const FINISHED_LISTED = 15;
const EVENTS_LISTED = 40;

const FINISHED = JobState.options.filter(isFinal);
const UNFINISHED = JobState.options.filter((state) => !isFinal(state));

export interface ListedJob {
  id: string;
  record: JobRecord;
}

export interface Fleet {
  at: number;
  workers: WorkerDescription[];
  /** Those that are not finished, then those that finished last. */
  jobs: ListedJob[];
  counts: { waiting: number; active: number; succeeded: number; failed: number };
  events: JobEvent[];
}

/** Reads the fleet once at a time, however many people look at it: who comes while it is read gets the same. */
export function fleetReader(redis: Redis, pools: Pools): () => Promise<Fleet> {
  let underWay: Promise<Fleet> | undefined;
  return () => {
    underWay ??= readFleet(redis, pools).finally(() => {
      underWay = undefined;
    });
    return underWay;
  };
}

async function readFleet(redis: Redis, pools: Pools): Promise<Fleet> {
  const queues = [...(await pools.look()).values()];
  const [workers, counts, jobs, events] = await Promise.all([
    listWorkers(redis),
    countJobs(queues),
    listJobs(redis),
    latestEvents(redis),
  ]);
  return { at: Date.now(), workers, counts, jobs, events };
}

async function countJobs(queues: Queue[]): Promise<Fleet['counts']> {
  const all = await Promise.all(queues.map((queue) => queue.getJobCounts()));
  const sum = (...kinds: JobType[]) =>
    all.flatMap((of) => kinds.map((kind) => of[kind] ?? 0)).reduce((a, b) => a + b, 0);
  return {
    waiting: sum('waiting', 'prioritized', 'delayed', 'waiting-children'),
    active: sum('active'),
    succeeded: sum('completed'),
    failed: sum('failed'),
  };
}

async function listJobs(redis: Redis): Promise<ListedJob[]> {
  const unfinished = await listRecords(redis, { states: UNFINISHED, limit: UNFINISHED_LISTED });
  const finished = await listRecords(redis, { states: FINISHED, limit: FINISHED_LISTED });
  finished.sort((a, b) => (b.record.finishedAt ?? 0) - (a.record.finishedAt ?? 0));
  return [...unfinished, ...finished];
}

const Entries = z.array(z.tuple([z.string(), z.array(z.string()).min(2)]));

/** The newest events, newest first; kinds that this version does not know are left out. */
async function latestEvents(redis: Redis): Promise<JobEvent[]> {
  const entries = Entries.parse(await redis.xrevrange(redisKeys.events, '+', '-', 'COUNT', EVENTS_LISTED));
  return entries.flatMap(([, fields]) => {
    const event = JobEvent.safeParse(parseJson(fields[1] ?? ''));
    return event.success ? [event.data] : [];
  });
}

/** Undefined where it is not JSON, which no schema accepts. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
