/** The one reader of the event stream, for the story and for whoever waits. */
import { EventEmitter } from 'node:events';
import type { Floe, JobEvent } from '../../producers/index.ts';
import type { Story } from './story.ts';

export class EventFeed implements AsyncDisposable {
  readonly #emitter = new EventEmitter<{ event: [JobEvent] }>();
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  readonly #signal: AbortSignal;

  constructor(floe: Floe, story: Story, signal: AbortSignal) {
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
    this.#emitter.on('event', (event) => story.tell(event));
    this.#reading = this.#read(floe, story);
  }

  /** The next event of a job. */
  next(jobId: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Nobody may be waiting any more when it is aborted.
    promise.catch(() => undefined);
    const listener = (event: JobEvent) => {
      if (event.jobId === jobId) done(resolve);
    };
    const onAbort = () => done(() => reject(this.#signal.reason));
    const done = (settle: () => void) => {
      this.#emitter.off('event', listener);
      this.#signal.removeEventListener('abort', onAbort);
      settle();
    };
    this.#emitter.on('event', listener);
    this.#signal.addEventListener('abort', onAbort, { once: true });
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#reading;
  }

  async #read(floe: Floe, story: Story): Promise<void> {
    try {
      for await (const event of floe.events({ signal: this.#signal })) this.#emitter.emit('event', event);
    } catch (error) {
      if (!this.#signal.aborted) story.say(`the event stream broke: ${String(error)}`);
    }
  }
}
