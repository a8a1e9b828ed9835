/**
 * Shows this worker to the fleet, and hears what is asked of it. Requests are kept in Redis and announced by
 * publish/subscribe: the announcement only makes it quick, every beat looks for itself.
 */
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import {
  announceWorker,
  isDrainRequested,
  Request,
  redisKeys,
  retireWorker,
  type WorkerDescription,
} from '../jobs/index.ts';
import { unlessAborted } from './unlessAborted.ts';

const BEAT_MS = 5000;
const LEAVE_MS = 2000;

export interface PresenceOptions {
  readonly redis: Redis;
  readonly logger: Logger;
  readonly describe: () => WorkerDescription;
  readonly onDrain: () => void;
  /** Somebody left a request for this job. */
  readonly onJobRequest: (jobId: string) => void;
}

export class Presence implements AsyncDisposable {
  readonly #options: PresenceOptions;
  readonly #subscriber: Redis;
  readonly #name: string;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;
  #wanted = false;
  #problem = '';

  private constructor(options: PresenceOptions) {
    this.#options = options;
    this.#name = options.describe().name;
    this.#subscriber = options.redis.duplicate();
    this.#subscriber.on('error', () => undefined); // the beat, on the other connection, tells
  }

  static async open(options: PresenceOptions): Promise<Presence> {
    const presence = new Presence(options);
    // What was asked of an earlier worker of this name is over.
    await retireWorker(options.redis, presence.#name);
    presence.#subscriber.on('message', (_, text) => presence.#hear(text));
    await presence.#subscriber.subscribe(redisKeys.requests);
    await presence.beat();
    presence.#timer = setInterval(() => void presence.beat(), BEAT_MS);
    return presence;
  }

  /** Shows what has changed without waiting for the next beat. Never rejects. */
  async beat(): Promise<void> {
    this.#wanted = true;
    this.#beating ??= this.#beatWhileWanted();
    await this.#beating;
  }

  /** Without Redis the worker is forgotten all the same, only later. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#subscriber.disconnect();
    const leave = (this.#beating ?? Promise.resolve()).then(() => retireWorker(this.#options.redis, this.#name));
    await unlessAborted(AbortSignal.timeout(LEAVE_MS), leave).catch(() => undefined);
  }

  /** One at a time, however often it is asked for while Redis is slow. */
  async #beatWhileWanted(): Promise<void> {
    while (this.#wanted) {
      this.#wanted = false;
      await this.#beat();
    }
    this.#beating = undefined;
  }

  async #beat(): Promise<void> {
    const { redis, logger, describe, onDrain } = this.#options;
    try {
      await announceWorker(redis, describe());
      if (await isDrainRequested(redis, this.#name)) onDrain();
      this.#problem = '';
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== this.#problem) logger.warn({ err: error }, 'cannot show this worker to the fleet');
      this.#problem = message;
    }
  }

  #hear(text: string): void {
    const request = Request.safeParse(parseJson(text));
    if (!request.success) return; // of a version that this one does not know
    if (request.data.type !== 'drain') this.#options.onJobRequest(request.data.jobId);
    else if (request.data.worker === this.#name) this.#options.onDrain();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // anybody can publish; what is no request is nothing
  }
}
