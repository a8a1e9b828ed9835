/** Shows what a program writes, as it is written. The log files only grow, and are their own buffer. */
import { constants, type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Run } from '../runtime.ts';
import { type Stream, writeOut } from './output.ts';

const READ_BYTES = 64 * 1024;
/** How long a change that inotify does not tell (some network file systems, no watch left) stays unseen. */
const LOOK_ANYWAY_MS = 1000;

/** A thawed program's output goes on where its checkpoint was taken: that much was shown before. */
export class Relay {
  readonly #finish = new AbortController();
  readonly #done: Promise<unknown>;

  constructor(run: Run) {
    this.#done = Promise.all([this.#follow(run, 'stdout'), this.#follow(run, 'stderr')]);
    this.#done.catch(() => undefined); // told by `finish`
  }

  /** Resolves when all that is in the logs has been written. Rejects when a log cannot be read. */
  async finish(): Promise<void> {
    this.#finish.abort();
    await this.#done;
  }

  async #follow(run: Run, stream: Stream): Promise<void> {
    // Its writer may be about to make it, and then finds it made.
    await using file = await open(run.logs[stream], constants.O_RDONLY | constants.O_CREAT, 0o644);
    using changes = new Changes(run.logs[stream], this.#finish.signal);
    let offsetBytes = run.logStart[stream];
    for (;;) {
      const isLast = this.#finish.signal.aborted;
      const bytes = await readAt(file, offsetBytes);
      offsetBytes += bytes.length;
      if (bytes.length > 0) await writeOut(stream, bytes);
      else if (isLast) return;
      else await changes.next();
    }
  }
}

/** Waits for a file to change, without missing a change that comes between two waits. */
class Changes implements Disposable {
  readonly #watcher: FSWatcher | null;
  readonly #signal: AbortSignal;
  #changed = Promise.withResolvers<void>();

  constructor(path: string, signal: AbortSignal) {
    this.#signal = signal;
    const notify = () => this.#changed.resolve();
    this.#watcher = watchIfPossible(path, notify);
    signal.addEventListener('abort', notify, { once: true });
  }

  /** Resolves when the file has changed since the last call or may have, and when the signal has aborted. */
  async next(): Promise<void> {
    if (!this.#signal.aborted) {
      const timer = setTimeout(() => this.#changed.resolve(), LOOK_ANYWAY_MS);
      await this.#changed.promise;
      clearTimeout(timer);
    }
    this.#changed = Promise.withResolvers();
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
  }
}

/** Null when inotify has no watch left (ENOSPC, EMFILE): then the look at every second is all there is. */
function watchIfPossible(path: string, onChange: () => void): FSWatcher | null {
  try {
    return watch(path, onChange).on('error', onChange);
  } catch {
    return null;
  }
}

async function readAt(file: FileHandle, offsetBytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  const { bytesRead } = await file.read(buffer, 0, READ_BYTES, offsetBytes);
  return buffer.subarray(0, bytesRead);
}
