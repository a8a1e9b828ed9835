/** The queues of all pools there are, opened once each. A pool that is new since the last look is added. */
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { type JobData, openQueue, PoolName, redisKeys } from '../jobs/index.ts';

export class Pools implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #queues = new Map<string, Queue<JobData>>();
  readonly #onError: (error: Error) => void;

  constructor(redis: Redis, onError: (error: Error) => void) {
    this.#redis = redis;
    this.#onError = onError;
  }

  /** Every queue, by pool. */
  async look(): Promise<ReadonlyMap<string, Queue<JobData>>> {
    const names = await this.#redis.smembers(redisKeys.pools);
    for (const name of names.sort()) if (PoolName.safeParse(name).success) this.#open(name);
    return this.#queues;
  }

  /** One pool's queue, or undefined when no such pool ever had a job. */
  async find(pool: string): Promise<Queue<JobData> | undefined> {
    return this.#queues.get(pool) ?? (await this.look()).get(pool);
  }

  #open(pool: string): void {
    if (this.#queues.has(pool)) return;
    const queue = openQueue(pool, this.#redis);
    queue.on('error', this.#onError);
    this.#queues.set(pool, queue);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }
}
