/**
 * Sends what a run writes to Redis as it is written, in order. The log files only grow, and are their own buffer: one chunk
 * of each stream is in memory at any time, however far Redis is behind.
 */
import type { Redis } from 'ioredis';
import { LogFile } from '../freezer/index.ts';
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
    const signal = AbortSignal.any([this.#finish.signal, lease.signal]);
    await using log = await LogFile.open(run.logs[stream], signal);
    let offsetBytes = run.logStart[stream];
    while (!lease.signal.aborted) {
      const finishing = this.#finish.signal.aborted;
      offsetBytes = Math.max(offsetBytes, (await log.sizeBytes()) - MOST_BEHIND_BYTES);
      const bytes = await log.readAt(offsetBytes, LOG_ENTRY_BYTES);
      if (bytes.length > 0) {
        const entry = { stream, offsetBytes, bytes };
        const owned = await lease.insist(() => appendLog(redis, id, epoch, entry)).catch(() => false); // lost
        if (!owned) return;
        offsetBytes += bytes.length;
      } else if (finishing) return;
      else await log.changes();
    }
  }
}
