/** A log of a run, read while its program writes it. */
import { constants, type FSWatcher } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { FreezerError } from '../errors.ts';
import { watchIfPossible } from './watchIfPossible.ts';

/** How long a change that inotify does not tell (some network file systems, no watch left) stays unseen. */
const LOOK_ANYWAY_MS = 1000;

const { O_RDONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;

/**
 * Opens a log to read it. Its writer may be about to make it, and then finds it made. The job could have put something else in its place:
 * a link is not followed, a pipe does not hold us up, and what is no file is refused. Throws `FreezerError` `failed` then.
 */
export async function openLog(path: string): Promise<FileHandle> {
  const file = await open(path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644).catch((cause: Error) => {
    throw noFile(path, cause);
  });
  const stats = await file.stat();
  if (stats.isFile()) return file;
  await file.close();
  throw noFile(path);
}

function noFile(path: string, cause?: Error): FreezerError {
  const what = `The log ${path} is no file that can be read${cause ? `: ${cause.message}` : ''}.`;
  return new FreezerError('failed', what, 'See what the job does with its own stdout and stderr.', { cause });
}

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
    return new LogFile(path, await openLog(path), signal);
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
