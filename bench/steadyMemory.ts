/**
 * Memory that costs the same each time it is asked for. A virtual machine hands free memory back to its host within seconds (free
 * page reporting), and to get a page again costs a visit to the host: 3.5 s a GiB where these figures were taken, instead of 0.4.
 * Who comes first in a pair would pay for all. The kernel's page cache is not handed back, and gives its pages up to whoever asks.
 * So what is free is kept filled with the cache of a file that has holes only, as the memory of a machine is that has worked for a
 * while, and before each measurement some of it is let go: so much that little else, programs for instance, has to make room.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { memoryBytes } from './machine.ts';

/** No more than the kernel reads ahead for whoever jumps about. */
const STEP_BYTES = 128 * 2 ** 10;
/** More than the kernel keeps free itself, or the filling would have no end. */
const LEFT_FREE_BYTES = 512 * 2 ** 20;
/** The more is free, the more is handed back while something is measured. */
const LET_GO_BYTES = 2 * 2 ** 30;

export class SteadyMemory implements AsyncDisposable {
  readonly #holes: FileHandle;
  readonly #buffer = Buffer.alloc(STEP_BYTES);
  #readBytes = 0;

  private constructor(holes: FileHandle) {
    this.#holes = holes;
  }

  /** `directory` is the caller's to remove, and on a file system that caches. */
  static async open(directory: string): Promise<SteadyMemory> {
    return new SteadyMemory(await open(join(directory, 'holes'), 'w+'));
  }

  /** To be called just before a measurement. Takes 0.3 to 3.5 s for each GiB that is free. Throws what `signal` was aborted with. */
  async steady(signal: AbortSignal): Promise<void> {
    // Meanwhile the kernel may let go of what it takes for cold.
    for (let free = await memoryBytes('MemFree'); free > LEFT_FREE_BYTES; free = await memoryBytes('MemFree')) {
      await this.#read(free, signal);
    }
    // What was read last is surely the machine's.
    this.#readBytes = Math.max(0, this.#readBytes - LET_GO_BYTES);
    await this.#holes.truncate(this.#readBytes);
  }

  /**
   * A page is read once and never again, so that the kernel gives up the oldest first. From the end, or the kernel would read ahead, in
   * pieces of 2 MiB, and free as much memory as this takes to have such pieces: the filling had no end for minutes.
   */
  async #read(bytes: number, signal: AbortSignal): Promise<void> {
    const end = this.#readBytes + Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
    await this.#holes.truncate(end);
    for (let at = end - STEP_BYTES; at >= this.#readBytes; at -= STEP_BYTES) {
      signal.throwIfAborted();
      await this.#holes.read(this.#buffer, 0, STEP_BYTES, at);
    }
    this.#readBytes = end;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holes.close();
  }
}
