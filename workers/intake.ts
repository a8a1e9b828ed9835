/**
 * Takes jobs from the pools' queues while slots are free.
 *
 * Slots are shared by all pools, so jobs are fetched by hand: BullMQ's own loop counts for each queue by itself, and would
 * hold a job active that cannot run yet. A free slot looks into the pools in their order; when all are empty it waits
 * at all of them, blocking in Redis. Two of these waits can end at the same moment with one slot left, and a wait
 * can end after the worker has stopped taking jobs: then the job goes back to the front, at no cost. So it does while the
 * worker steps aside, which it does for a job that it may not run: an idle worker that may would else have to win a race
 * for it, against this one and all of its kind, each time that it comes back.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Job, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { QUEUE_PREFIX } from '../jobs/index.ts';
import { QueuedJob } from './queuedJob.ts';
import { Slots } from './slots.ts';

/** How long one wait at an empty queue takes; a worker that stops may have to wait for its end. */
const WAIT_SECONDS = 2;
/** After a failed fetch, and after waits that were over at once. */
const PAUSE_MS = 1000;
/**
 * Waits that end at once and bring nothing, in a row. A few are as it should be: BullMQ wakes an idle worker with every job
 * that another takes, to look whether there is one more. While a rate limit holds, however, it does not wait at all.
 */
const EMPTY_WAITS = { withinMs: 100, most: 10 };
/**
 * Long enough for many idle workers to look at a job one after the other, and rare enough to keep nobody from its work. Once more by the
 * time that a job comes back which nobody could run (`LATER_MS` in stint.ts).
 */
const ASIDE = { forMs: 1000, everyMs: 5000 };

export interface IntakeOptions {
  readonly worker: string;
  readonly redis: Redis;
  readonly pools: readonly string[];
  readonly slots: number;
  readonly lockDurationMs: number;
  readonly logger: Logger;
  /** Runs a job; the slot is free again when it resolves. Never rejects. */
  readonly run: (job: Job, token: string) => Promise<void>;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #queues: Worker[];
  readonly #slots: Slots;
  readonly #stopped = new AbortController();
  readonly #waits = new Map<Worker, Promise<void>>();
  readonly #emptyWaits = new Map<Worker, number>();
  #taking: Promise<boolean> = Promise.resolve(false);
  #aside: Promise<void> | null = null;
  #lastAsideAt = Number.NEGATIVE_INFINITY;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#slots = new Slots(options.slots);
    this.#queues = options.pools.map((pool) => openPool(pool, options, this.#stopped.signal));
  }

  start(): void {
    // Brings back the jobs of workers that died.
    for (const queue of this.#queues) void queue.startStalledCheckTimer();
    void this.#takeJobs();
  }

  /** No job is taken from now on; resolves when no fetch is under way any more, within seconds. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#queues.map((queue) => queue.pause(true)));
    await Promise.all([this.#taking, ...this.#waits.values()]);
  }

  /**
   * Takes nothing for a moment, so that what this worker then gives back to the front goes to another. False when it did so
   * a few seconds ago: whoever was idle has had its chance.
   */
  stepAside(): boolean {
    const now = performance.now();
    if (now - this.#lastAsideAt < ASIDE.everyMs) return false;
    this.#lastAsideAt = now;
    this.#aside = this.#pause(ASIDE.forMs).finally(() => {
      this.#aside = null;
    });
    return true;
  }

  /** Closes the connections; for after `stop` and the end of every job. */
  async close(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.close()));
  }

  async #takeJobs(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await this.#slots.whenFree();
      await this.#aside;
      if (signal.aborted) return;
      this.#taking = this.#takeFirst();
      if ((await this.#taking) || signal.aborted) continue;
      for (const queue of this.#queues) this.#waitAt(queue);
      await Promise.race(this.#waits.values());
    }
  }

  /** Whether one of the pools had a job at once. */
  async #takeFirst(): Promise<boolean> {
    for (const queue of this.#queues) {
      if (this.#stopped.signal.aborted) return false;
      if (!this.#waits.has(queue) && (await this.#fetch(queue, false))) return true;
    }
    return false;
  }

  #waitAt(queue: Worker): void {
    if (this.#waits.has(queue)) return;
    const beganAt = performance.now();
    const wait = this.#fetch(queue, true).then(async (found) => {
      const endedAtOnce = performance.now() - beganAt < EMPTY_WAITS.withinMs;
      const emptyWaits = found || !endedAtOnce ? 0 : (this.#emptyWaits.get(queue) ?? 0) + 1;
      this.#emptyWaits.set(queue, emptyWaits);
      if (emptyWaits > EMPTY_WAITS.most) await this.#pause(PAUSE_MS);
      this.#waits.delete(queue);
    });
    this.#waits.set(queue, wait);
  }

  async #fetch(queue: Worker, block: boolean): Promise<boolean> {
    const token = randomUUID();
    try {
      const job = await queue.getNextJob(token, { block });
      if (!job) return false;
      await this.#dispatch(job, token);
      return true;
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      this.#options.logger.warn({ err: error, pool: queue.name }, 'cannot fetch jobs; trying on');
      await this.#pause(PAUSE_MS);
      return false;
    }
  }

  async #dispatch(job: Job, token: string): Promise<void> {
    const takesNone = this.#stopped.signal.aborted || this.#aside !== null;
    if (takesNone || !this.#slots.take()) return new QueuedJob(job, token).toFront();
    void this.#options.run(job, token).finally(() => this.#slots.release());
  }

  async #pause(durationMs: number): Promise<void> {
    await delay(durationMs, undefined, { signal: this.#stopped.signal }).catch(() => undefined); // stopped: no need to wait
  }
}

function openPool(pool: string, options: IntakeOptions, stopped: AbortSignal): Worker {
  const queue = new Worker(pool, null, {
    connection: options.redis,
    prefix: QUEUE_PREFIX,
    name: options.worker,
    lockDuration: options.lockDurationMs,
    stalledInterval: options.lockDurationMs,
    // Crashes have a budget of their own, which BullMQ does not know.
    maxStalledCount: Number.MAX_SAFE_INTEGER,
    drainDelay: WAIT_SECONDS,
    skipLockRenewal: true,
  });
  let told = '';
  queue.on('error', (error) => {
    if (error.message !== told && !stopped.aborted) options.logger.warn({ err: error, pool }, 'the queue has trouble');
    told = error.message;
  });
  return queue;
}
