/**
 * How much of Redis logs may take. Locks, records and the queue are in the same memory, and when that is full nobody's lock can be renewed:
 * logs stop first.
 */
import type { Redis } from 'ioredis';

/** Of Redis' `maxmemory`: what logs may have at most, and from where on nobody sends any. */
const SHARE = { logs: 0.25, full: 0.8 };
const LOOK_EVERY_MS = 2000;

export class LogRoom {
  readonly #redis: Redis;
  readonly #mostBytes: number;
  #bytes: Promise<number> = Promise.resolve(0);
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `mostBytes`: what all logs of the fleet together may have, as its operator says. */
  constructor(redis: Redis, mostBytes: number) {
    this.#redis = redis;
    this.#mostBytes = mostBytes;
  }

  /** What all logs together may have at the moment; 0 while nothing may be sent. One look serves all runs for two seconds. */
  async bytes(): Promise<number> {
    const now = performance.now();
    if (now - this.#lookedAt >= LOOK_EVERY_MS) {
      this.#lookedAt = now;
      this.#bytes = this.#look();
    }
    return await this.#bytes;
  }

  async #look(): Promise<number> {
    // A server that does not tell its memory still has the operator's bound.
    const info = await this.#redis.info('memory').catch(() => '');
    return roomFor(info, this.#mostBytes);
  }
}

/** Pure. `info`: what INFO says of memory. */
export function roomFor(info: string, mostBytes: number): number {
  const [used, limit] = ['used_memory', 'maxmemory'].map((name) =>
    Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0),
  ) as [number, number];
  if (limit === 0) return mostBytes;
  return used >= limit * SHARE.full ? 0 : Math.min(mostBytes, Math.floor(limit * SHARE.logs));
}
