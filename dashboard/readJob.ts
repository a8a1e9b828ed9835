/** Reads what a job's page shows. */

import { stripVTControlCharacters } from 'node:util';
import type { Redis } from 'ioredis';
import {
  FloeError,
  JobData,
  type JobRecord,
  type LogStream,
  poolOfJobId,
  type RunRecord,
  readRecord,
  readRuns,
  redisKeys,
  storeKeys,
} from '../jobs/index.ts';
import type { Pools } from './pools.ts';

/** How much of a running job's log the page shows, per stream. */
export const LOG_TAIL_BYTES = 16 * 1024;
const LOG_TAIL_ENTRIES = 64;

export interface JobDetails {
  at: number;
  id: string;
  /** Null once BullMQ has dropped the finished job; the record stays longer. */
  data: JobData | null;
  record: JobRecord;
  runs: RunRecord[];
  logTail: Record<LogStream, string>;
}

/** Throws `FloeError` `notFound`. */
export async function readJob(redis: Redis, pools: Pools, id: string): Promise<JobDetails> {
  const pool = poolOfJobId(id);
  const [record, runs, queue] = await Promise.all([readRecord(redis, id), readRuns(redis, id), pools.find(pool)]);
  if (record === null) throw new FloeError('notFound', `There is no job "${id}".`, 'Look for it on the fleet page.');
  const data = JobData.safeParse((await queue?.getJob(id))?.data);
  const logTail = await readLogTail(redis, id, record.epoch);
  return { at: Date.now(), id, data: data.success ? data.data : null, record, runs, logTail };
}

async function readLogTail(redis: Redis, id: string, epoch: number): Promise<JobDetails['logTail']> {
  const entries = await redis.xrevrangeBuffer(redisKeys.log(id, epoch), '+', '-', 'COUNT', LOG_TAIL_ENTRIES);
  const newestLast = entries.reverse().map(([, fields]) => ({ stream: String(fields[1]), bytes: fields[5] }));
  const tail = (stream: LogStream) => {
    const own = newestLast.flatMap((entry) => (entry.stream === stream && entry.bytes ? [entry.bytes] : []));
    return stripVTControlCharacters(Buffer.concat(own).subarray(-LOG_TAIL_BYTES).toString('utf8'));
  };
  return { stdout: tail('stdout'), stderr: tail('stderr') };
}

export interface StoredFile {
  /** Its name in our own addresses: `/jobs/<id>/files/<name>`. */
  name: string;
  title: string;
  key: string;
  sizeBytes: number | null;
}

/** What the store has of this job. Keys outside the job's own folder are not offered, whoever wrote them. */
export function storedFiles({ id, data, record }: JobDetails): StoredFile[] {
  const { result } = record;
  const files: (StoredFile | null)[] = [
    data?.input ? { name: 'input.tar.zst', title: 'workspace as submitted', ...data.input } : null,
    result?.outputs ? { name: 'outputs.tar.zst', title: 'outputs', ...result.outputs } : null,
    result?.logs ? { name: 'stdout.txt', title: 'stdout', ...result.logs.stdout } : null,
    result?.logs ? { name: 'stderr.txt', title: 'stderr', ...result.logs.stderr } : null,
    result ? { name: 'result.json', title: 'result', key: storeKeys.result(id), sizeBytes: null } : null,
  ];
  return files.filter((file): file is StoredFile => file?.key.startsWith(storeKeys.job(id)) ?? false);
}
