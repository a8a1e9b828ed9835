/** How fast something may be used: so much at once, and then so much a second. */
export class Pace {
  readonly #atOnce: number;
  readonly #eachSecond: number;
  #left: number;
  #at: number;

  constructor(atOnce: number, eachSecond: number, now = performance.now()) {
    this.#atOnce = atOnce;
    this.#eachSecond = eachSecond;
    this.#left = atOnce;
    this.#at = now;
  }

  /** Takes so much. How long to wait before the next, in ms. */
  take(amount: number, now = performance.now()): number {
    const gained = ((now - this.#at) / 1000) * this.#eachSecond;
    this.#at = now;
    this.#left = Math.min(this.#atOnce, this.#left + gained) - amount;
    return this.#left >= 0 ? 0 : (-this.#left / this.#eachSecond) * 1000;
  }
}
