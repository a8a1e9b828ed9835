import { setTimeout as delay } from 'node:timers/promises';

const ANSWER_WITHIN_MS = 2000;

/**
 * What somebody says who may be slow, or whom a job may have stopped: the answer before is the one, until there is a new one. At most one
 * question is open at a time.
 */
export class LastAnswer {
  readonly #ask: () => Promise<number>;
  readonly #onFailure: (error: unknown) => void;
  #answer = 0;
  #asking: Promise<void> | null = null;

  constructor(ask: () => Promise<number>, onFailure: (error: unknown) => void) {
    this.#ask = ask;
    this.#onFailure = onFailure;
  }

  /** Zero before the first answer. Never rejects. */
  async get(): Promise<number> {
    this.#asking ??= this.#update();
    const over = new AbortController();
    const late = delay(ANSWER_WITHIN_MS, undefined, { signal: over.signal, ref: false }).catch(() => undefined); // no need to wait
    await Promise.race([this.#asking, late]);
    over.abort();
    return this.#answer;
  }

  async #update(): Promise<void> {
    try {
      this.#answer = await this.#ask();
    } catch (error) {
      this.#onFailure(error);
    } finally {
      this.#asking = null;
    }
  }
}
