/** What a Redis server is and how it is set up, as far as jobs depend on it. */
import type { Redis } from 'ioredis';

export interface RedisFacts {
  readonly server: 'Redis' | 'Valkey';
  /** Valkey says which version of Redis it is as good as, too; this is its own. */
  readonly version: string;
  /** As good as this version of Redis, `[major, minor]`. */
  readonly redisVersion: readonly [number, number];
  /** `noeviction`, or which keys it drops when its memory is full. */
  readonly maxmemoryPolicy: string;
  /** Whether each write goes to an append-only file. */
  readonly isAppendOnly: boolean;
  /** The median of a few round trips. */
  readonly latencyMs: number;
}

const ROUND_TRIPS = 11;

/** Asks by INFO alone, since managed servers refuse CONFIG. */
export async function inspectRedis(redis: Redis): Promise<RedisFacts> {
  return { ...parseInfo(await redis.info()), latencyMs: await measureLatency(redis) };
}

/** INFO's answer: lines of `name:value` between headings. What is not told counts as the server's default. */
export function parseInfo(info: string): Omit<RedisFacts, 'latencyMs'> {
  const facts = new Map(Array.from(info.matchAll(/^(\w+):(.*?)\r?$/gm), ([, name = '', value = '']) => [name, value]));
  const redisVersion = facts.get('redis_version') ?? '0.0';
  const [major = 0, minor = 0] = redisVersion.split('.').map(Number);
  return {
    server: facts.has('valkey_version') ? 'Valkey' : 'Redis',
    version: facts.get('valkey_version') ?? redisVersion,
    redisVersion: [major, minor],
    maxmemoryPolicy: facts.get('maxmemory_policy') ?? 'noeviction',
    isAppendOnly: facts.get('aof_enabled') === '1',
  };
}

async function measureLatency(redis: Redis): Promise<number> {
  const timesMs: number[] = [];
  for (let trip = 0; trip < ROUND_TRIPS; trip++) {
    const startedAt = performance.now();
    await redis.ping();
    timesMs.push(performance.now() - startedAt);
  }
  return timesMs.sort((a, b) => a - b)[Math.floor(ROUND_TRIPS / 2)] ?? 0;
}
