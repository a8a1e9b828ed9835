/** A log of a run, read while its program writes it. */
import { constants, type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** How long a change that inotify does not tell (some network file systems, no watch left) stays unseen. */
const LOOK_ANYWAY_MS = 1000;

export class LogFile implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #watcher: FSWatcher | null;
  readonly #signal: AbortSignal;
  #changed = Promise.withResolvers<void>();

  private constructor(path: string, file: FileHandle, signal: AbortSignal) {
    this.#file = file;
    this.#signal = signal;
    const notify = () => this.#changed.resolve();
    this.#watcher = watchIfPossible(path, notify);
    signal.addEventListener('abort', notify, { once: true });
  }

  /** `signal` ends every wait for a change. Rejects when the log cannot be opened. */
  static async open(path: string, signal: AbortSignal): Promise<LogFile> {
    // Its writer may be about to make it, and then finds it made.
    return new LogFile(path, await open(path, constants.O_RDONLY | constants.O_CREAT, 0o644), signal);
  }

  async sizeBytes(): Promise<number> {
    return (await this.#file.stat()).size;
  }

  /** At most so many bytes; none at the end of what there is. */
  async readAt(offsetBytes: number, atMostBytes: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(atMostBytes);
    const { bytesRead } = await this.#file.read(buffer, 0, atMostBytes, offsetBytes);
    return buffer.subarray(0, bytesRead);
  }

  /**
   * Resolves when the log has changed since the last call or may have, without missing a change that comes between two
   * calls, and when the signal has aborted.
   */
  async changes(): Promise<void> {
    if (!this.#signal.aborted) {
      const timer = setTimeout(() => this.#changed.resolve(), LOOK_ANYWAY_MS);
      await this.#changed.promise;
      clearTimeout(timer);
    }
    this.#changed = Promise.withResolvers();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watcher?.close();
    await this.#file.close();
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
