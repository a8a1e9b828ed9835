/** Says from time to time how far a job is, by the newest line of its log. */
import type { Floe } from '../../producers/index.ts';
import type { Story } from './story.ts';

const EVERY_MS = 10_000;

export class Pulse implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #newest = '';

  constructor(floe: Floe, id: string, name: string, story: Story) {
    this.#reading = this.#read(floe, id);
    this.#timer = setInterval(() => {
      if (this.#newest !== '') story.say(`its log is at "${this.#newest}"`, name);
      this.#newest = '';
    }, EVERY_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#reading;
  }

  async #read(floe: Floe, id: string): Promise<void> {
    try {
      for await (const entry of floe.logs(id, { follow: true, signal: this.#stop.signal })) {
        // Lines are written whole, and a look from afar may miss some.
        if (entry.kind === 'text') this.#newest = entry.bytes.toString('utf8').trim().split('\n').at(-1) ?? '';
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#newest = String(error);
    }
  }
}
