/** Jobs as users see them. Every `…At` is in ms since 1970, every `…Ms` a duration in ms, every `…Bytes` in bytes. */
import type { Redis } from 'ioredis';
import { FloeError } from '../jobs/errors.ts';
import { poolOfJobId } from '../jobs/names.ts';
import { JobData } from '../jobs/queue.ts';
import { type JobRecord, type RunRecord, readRecord, readRuns } from '../jobs/record.ts';
import type { JobSpec } from '../jobs/spec.ts';
import type { Connections } from './connections.ts';

/** A line of a list. */
export interface JobSummary extends JobRecord {
  readonly id: string;
  readonly pool: string;
}

/** All that is known of a job. `awayMs`: time between two runs, frozen or after a crash. */
export interface JobView extends JobSummary {
  /** Null when the queue has dropped the job before its record expired. */
  readonly spec: JobSpec | null;
  readonly input: JobData['input'];
  readonly runs: readonly RunRecord[];
  readonly frozenMs: number;
  readonly awayMs: number;
  readonly bytesSent: number;
}

export function summarize(id: string, record: JobRecord): JobSummary {
  return { id, pool: poolOfJobId(id), ...record };
}

/** Throws `FloeError` `notFound`. */
export async function readJob(connections: Connections, id: string, now = Date.now()): Promise<JobView> {
  const record = await requireRecord(connections.redis, id);
  const runs = await readRuns(connections.redis, id);
  const queued = await connections.queue(poolOfJobId(id)).getJob(id);
  const data = queued ? JobData.parse(queued.data) : null;
  return {
    ...summarize(id, record),
    spec: data?.spec ?? null,
    input: data?.input ?? null,
    runs,
    frozenMs: sum(runs.map((run) => run.frozenMs)),
    awayMs: awayMs(record, runs, now),
    bytesSent: sum(runs.map((run) => run.bytesSent)),
  };
}

/** Throws `FloeError` `notFound`. */
export async function requireRecord(redis: Redis, id: string): Promise<JobRecord> {
  poolOfJobId(id);
  const record = await readRecord(redis, id);
  if (record) return record;
  throw new FloeError('notFound', `There is no job "${id}".`, 'List the jobs with `floe ls`.');
}

function awayMs(record: JobRecord, runs: readonly RunRecord[], now: number): number {
  const gaps = runs.slice(1).map((run, at) => run.startedAt - (runs[at]?.endedAt ?? run.startedAt));
  const last = runs.at(-1);
  const present = record.state === 'frozen' && last?.endedAt != null ? now - last.endedAt : 0;
  return sum([...gaps, present].map((gap) => Math.max(0, gap)));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
