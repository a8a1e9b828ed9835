/**
 * Sends what a run writes to Redis as it is written, in order. The log files only grow, and are their own buffer: one chunk
 * of each stream is in memory at any time, however far Redis is behind.
 */
import { constants, type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Redis } from 'ioredis';
import type { Run } from '../freezer/runtime.ts';
import { appendLog, LOG_ENTRIES_KEPT, LOG_ENTRY_BYTES, type LogStream } from '../jobs/index.ts';
import type { Lease } from './lease.ts';

/** More than Redis keeps is not sent: it would push out itself. The complete log goes to the store at the end. */
const MOST_BEHIND_BYTES = LOG_ENTRIES_KEPT * LOG_ENTRY_BYTES;

export class LogShipper {
  readonly #finish = new AbortController();
  readonly #done: Promise<void>;

  /**
   * `owner`: the job and epoch under which the log is shown. Shipping ends by itself when the lease is lost. `onFailure`
   * hears of a log that cannot be read; the program runs on.
   */
  constructor(
    redis: Redis,
    owner: { id: string; epoch: number },
    run: Run,
    lease: Lease,
    onFailure: (error: unknown) => void,
  ) {
    const ship = (stream: LogStream) => this.#ship(redis, owner, run, stream, lease);
    this.#done = Promise.all([ship('stdout').catch(onFailure), ship('stderr').catch(onFailure)]).then(() => undefined);
  }

  /** Sends what is left and ends. Never rejects. */
  async finish(): Promise<void> {
    this.#finish.abort();
    await this.#done;
  }

  async #ship(
    redis: Redis,
    { id, epoch }: { id: string; epoch: number },
    run: Run,
    stream: LogStream,
    lease: Lease,
  ): Promise<void> {
    // Its writer may be about to make it, and then finds it made.
    await using file = await open(run.logs[stream], constants.O_RDONLY | constants.O_CREAT, 0o644);
    using changes = new Changes(run.logs[stream], AbortSignal.any([this.#finish.signal, lease.signal]));
    let offsetBytes = run.logStart[stream];
    while (!lease.signal.aborted) {
      const finishing = this.#finish.signal.aborted;
      offsetBytes = Math.max(offsetBytes, (await file.stat()).size - MOST_BEHIND_BYTES);
      const bytes = await readAt(file, offsetBytes);
      if (bytes.length > 0) {
        const entry = { stream, offsetBytes, bytes };
        const owned = await lease.insist(() => appendLog(redis, id, epoch, entry)).catch(() => false); // lost
        if (!owned) return;
        offsetBytes += bytes.length;
      } else if (finishing) return;
      else await changes.next();
    }
  }
}

/** How long a change that inotify does not tell (some network file systems, no watch left) stays unseen. */
const LOOK_ANYWAY_MS = 1000;

/** Waits for a file to change, without missing a change that comes between two waits. */
class Changes implements Disposable {
  readonly #watcher;
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
  const buffer = Buffer.allocUnsafe(LOG_ENTRY_BYTES);
  const { bytesRead } = await file.read(buffer, 0, LOG_ENTRY_BYTES, offsetBytes);
  return buffer.subarray(0, bytesRead);
}
