/** Files that are written to in any order: open while there is more to come for them, and never too many at once. */
import { closeSync, constants, openSync } from 'node:fs';

/** Well below what a process may have: sockets to the store and pipes to threads are open, too. */
const MOST_OPEN = 256;
/** A link in the place of a file is not followed. */
const OPEN_FILE = constants.O_WRONLY | constants.O_NOFOLLOW;

interface OpenFile {
  readonly descriptor: number;
  /** Writes that are under way. */
  holders: number;
}

export class OpenFiles implements Disposable {
  readonly #paths: readonly string[];
  readonly #writesLeft: Uint32Array;
  /** By the file's number, the one that was used last at the end. */
  readonly #open = new Map<number, OpenFile>();

  /** How many writes each file gets in all. */
  constructor(paths: readonly string[], writes: Uint32Array) {
    this.#paths = paths;
    this.#writesLeft = writes.slice();
  }

  /** How many there are for which `release` has not been called. */
  get writesLeft(): number {
    return this.#writesLeft.reduce((sum, count) => sum + count, 0);
  }

  /** A descriptor of the file for one write; it stays open until `release`. */
  take(file: number): number {
    const known = this.#open.get(file);
    if (!known) this.#makeRoom();
    const opened = known ?? { descriptor: openSync(this.#paths[file] ?? '', OPEN_FILE), holders: 0 };
    this.#open.delete(file);
    this.#open.set(file, opened);
    opened.holders += 1;
    return opened.descriptor;
  }

  /** The write has been made. */
  release(file: number): void {
    const opened = this.#open.get(file);
    if (!opened) return;
    opened.holders -= 1;
    const left = (this.#writesLeft[file] ?? 0) - 1;
    this.#writesLeft[file] = left;
    if (left === 0) this.#close(file, opened);
  }

  /** Not to be called while writes are under way. */
  [Symbol.dispose](): void {
    for (const [file, opened] of this.#open) this.#close(file, opened);
  }

  /** Closes the file that was not used for the longest time. */
  #makeRoom(): void {
    if (this.#open.size < MOST_OPEN) return;
    for (const [file, opened] of this.#open) {
      if (opened.holders > 0) continue;
      this.#close(file, opened);
      return;
    }
  }

  #close(file: number, { descriptor }: OpenFile): void {
    this.#open.delete(file);
    closeSync(descriptor);
  }
}
