/** Which jobs there are, newest first. */
import type { Redis } from 'ioredis';
import { poolOfJobId, redisKeys } from './names.ts';
import { JobRecord } from './record.ts';
import type { JobState } from './state.ts';

const PAGE_LENGTH = 500;

export interface JobFilter {
  readonly pool?: string | undefined;
  readonly states?: readonly JobState[] | undefined;
  /** At most this many. */
  readonly limit: number;
}

/** Jobs that match, newest submission first. Ids whose record has expired are forgotten on the way. */
export async function listRecords(redis: Redis, filter: JobFilter): Promise<{ id: string; record: JobRecord }[]> {
  const found: { id: string; record: JobRecord }[] = [];
  const gone: string[] = [];
  for (let at = 0; found.length < filter.limit; at += PAGE_LENGTH) {
    const page = await redis.zrevrange(redisKeys.jobs, at, at + PAGE_LENGTH - 1);
    if (page.length === 0) break;
    const ids = page.filter((id) => filter.pool === undefined || poolOfJobId(id) === filter.pool);
    // The states alone first: of ten thousand jobs a filter mostly wants a few.
    const states = await Promise.all(ids.map((id) => redis.hget(redisKeys.record(id), 'state')));
    gone.push(...ids.filter((_, index) => states[index] === null));
    const matching = ids.filter((_, index) => matches(states[index], filter.states));
    found.push(...(await readAll(redis, matching.slice(0, filter.limit - found.length))));
  }
  if (gone.length > 0) await redis.zrem(redisKeys.jobs, ...gone);
  return found;
}

function matches(state: string | null | undefined, wanted: readonly string[] | undefined): boolean {
  return state != null && (wanted === undefined || wanted.includes(state));
}

async function readAll(redis: Redis, ids: readonly string[]): Promise<{ id: string; record: JobRecord }[]> {
  const all = await Promise.all(ids.map((id) => redis.hgetall(redisKeys.record(id))));
  return ids.flatMap((id, at) => {
    const fields = all[at] ?? {};
    return Object.keys(fields).length === 0 ? [] : [{ id, record: JobRecord.parse(fields) }];
  });
}
