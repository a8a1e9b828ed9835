/** Reads what the fleet page shows. */
import type { Job, JobType, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import {
  displayName,
  JobData,
  JobEvent,
  JobRecord,
  listWorkers,
  redisKeys,
  type WorkerDescription,
} from '../jobs/index.ts';
import type { Pools } from './pools.ts';

/** How many jobs of each pool and kind the page shows; the queues page has all. */
export const LISTED_PER_KIND = 50;
const FINISHED_LISTED = 15;
const EVENTS_LISTED = 40;

export interface ListedJob {
  id: string;
  name: string;
  pool: string;
  /** Null when there is none, or this version cannot read it. */
  record: JobRecord | null;
}

export interface Fleet {
  at: number;
  workers: WorkerDescription[];
  /** Those that are not finished, then those that finished last. */
  jobs: ListedJob[];
  counts: { waiting: number; active: number; succeeded: number; failed: number };
  events: JobEvent[];
}

export async function readFleet(redis: Redis, pools: Pools): Promise<Fleet> {
  const queues = [...(await pools.look()).values()];
  const [workers, counts, jobs, events] = await Promise.all([
    listWorkers(redis),
    countJobs(queues),
    listJobs(redis, queues),
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

async function listJobs(redis: Redis, queues: Queue[]): Promise<ListedJob[]> {
  const unfinished = await jobsOf(queues, ['active', 'waiting', 'prioritized', 'delayed'], LISTED_PER_KIND);
  const finished = await jobsOf(queues, ['completed', 'failed'], FINISHED_LISTED);
  finished.sort((a, b) => (b.finishedOn ?? 0) - (a.finishedOn ?? 0));
  return readRecords(redis, [...unfinished, ...finished.slice(0, FINISHED_LISTED)]);
}

async function jobsOf(queues: Queue[], kinds: JobType[], count: number): Promise<Job[]> {
  const lists = await Promise.all(queues.flatMap((queue) => kinds.map((kind) => queue.getJobs([kind], 0, count - 1))));
  // A job that was removed between two reads of BullMQ's comes back as undefined, whatever the types say.
  return lists.flat().filter((job): job is Job => job !== undefined && job !== null);
}

async function readRecords(redis: Redis, jobs: Job[]): Promise<ListedJob[]> {
  const seen = new Map(jobs.map((job) => [job.id ?? '', job]));
  return Promise.all(
    [...seen].map(async ([id, job]) => {
      const record = JobRecord.safeParse(await redis.hgetall(redisKeys.record(id)));
      return { id, name: nameOf(job.data, job.name), pool: job.queueName, record: record.success ? record.data : null };
    }),
  );
}

function nameOf(data: unknown, fallback: string): string {
  const parsed = JobData.safeParse(data);
  return parsed.success ? displayName(parsed.data.spec) : fallback;
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
