/** How many jobs this worker may still take. */
export class Slots {
  #free: number;
  #freed = Promise.withResolvers<void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** False when there is none. */
  take(): boolean {
    if (this.#free === 0) return false;
    this.#free -= 1;
    return true;
  }

  release(): void {
    this.#free += 1;
    this.#freed.resolve();
    this.#freed = Promise.withResolvers();
  }

  async whenFree(): Promise<void> {
    while (this.#free === 0) await this.#freed.promise;
  }
}
