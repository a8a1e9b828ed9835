/** What the producer's operations work on: Redis, the queues, the store. */
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../jobs/config.ts';
import { type JobData, openQueue } from '../jobs/queue.ts';
import { connectRedis } from '../jobs/redis.ts';
import { openStore } from '../store/index.ts';
import type { Store } from '../store/store.ts';

export class Connections implements AsyncDisposable {
  readonly config: Config;
  readonly redis: Redis;
  readonly #queues = new Map<string, Queue<JobData>>();
  #store: Store | null = null;

  private constructor(config: Config, redis: Redis) {
    this.config = config;
    this.redis = redis;
  }

  static async open(config: Config): Promise<Connections> {
    return new Connections(config, await connectRedis(config, { whenLost: 'fail' }));
  }

  queue(pool: string): Queue<JobData> {
    const known = this.#queues.get(pool);
    if (known) return known;
    const queue = openQueue(pool, this.redis);
    queue.on('error', () => undefined); // the call that met it rejects with the same error
    this.#queues.set(pool, queue);
    return queue;
  }

  /** Opened at first use: most commands need no store. */
  async store(): Promise<Store> {
    this.#store ??= await openStore(this.config.store);
    return this.#store;
  }

  /** A connection of its own for reads that block, which outlasts a restart of Redis. The caller disconnects it. */
  follower(): Promise<Redis> {
    return connectRedis(this.config, { whenLost: 'wait' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const queue of this.#queues.values()) await queue.close();
    this.redis.disconnect();
    await this.#store?.[Symbol.asyncDispose]();
  }
}
