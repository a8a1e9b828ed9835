/**
 * Sends what a run writes to Redis as it is written, in order. The log files only grow, and are their own buffer: one chunk
 * of each stream is in memory at any time, however far Redis is behind.
 *
 * A job that writes faster than `RATE` is shown in parts; so is one while Redis has no room for logs or refuses them. What is passed over
 * readers are told as `skipped`. None of that holds up the job or its end: the complete log goes to the store.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LogFile } from '../freezer/index.ts';
import type { Run } from '../freezer/runtime.ts';
import { appendLog, LOG_BYTES_KEPT, LOG_ENTRY_BYTES, type LogStream } from '../jobs/index.ts';
import type { WorkerContext } from './context.ts';
import type { Lease } from './lease.ts';
import { Pace } from './pace.ts';

/** More than Redis keeps is not sent: it would push out itself. There are two streams. */
const MOST_BEHIND_BYTES = LOG_BYTES_KEPT / 2;
/** Of a run, both streams together. An entry costs Redis work however short it is. */
const RATE = { atOnceBytes: 2 ** 20, bytesEachSecond: 2 ** 20, entryBytes: 8 * 1024 };
const REFUSED_PAUSE_MS = 1000;

export class LogShipper {
  readonly #context: Pick<WorkerContext, 'redis' | 'logRoom'>;
  readonly #owner: { id: string; epoch: number };
  readonly #run: Run;
  readonly #lease: Lease;
  readonly #finish = new AbortController();
  readonly #pace = new Pace(RATE.atOnceBytes, RATE.bytesEachSecond);
  readonly #done: Promise<void>;

  /**
   * `owner`: the job and epoch under which the log is shown. Shipping ends by itself when the lease is lost. `onFailure`
   * hears of a log that cannot be read; the program runs on.
   */
  constructor(
    context: Pick<WorkerContext, 'redis' | 'logRoom'>,
    owner: { id: string; epoch: number },
    run: Run,
    lease: Lease,
    onFailure: (error: unknown) => void,
  ) {
    this.#context = context;
    this.#owner = owner;
    this.#run = run;
    this.#lease = lease;
    const ship = (stream: LogStream) => this.#ship(stream).catch(onFailure);
    this.#done = Promise.all([ship('stdout'), ship('stderr')]).then(() => undefined);
  }

  /** Sends what is left and ends. Never rejects. */
  async finish(): Promise<void> {
    this.#finish.abort();
    await this.#done;
  }

  async #ship(stream: LogStream): Promise<void> {
    const lease = this.#lease;
    const signal = AbortSignal.any([this.#finish.signal, lease.signal]);
    await using log = await LogFile.open(this.#run.logs[stream], signal);
    let offsetBytes = this.#run.logStart[stream];
    while (!lease.signal.aborted) {
      const finishing = this.#finish.signal.aborted;
      offsetBytes = Math.max(offsetBytes, (await log.sizeBytes()) - MOST_BEHIND_BYTES);
      const bytes = await log.readAt(offsetBytes, LOG_ENTRY_BYTES);
      if (bytes.length === 0) {
        if (finishing) return;
        await log.changes();
        continue;
      }
      const outcome = await this.#append(stream, offsetBytes, bytes);
      if (outcome === 'lost' || (outcome === 'refused' && finishing)) return;
      if (outcome === 'appended') offsetBytes += bytes.length;
      const waitMs = outcome === 'refused' ? REFUSED_PAUSE_MS : this.#pace.take(bytes.length + RATE.entryBytes);
      if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined); // finishing or lost: no need to wait
    }
  }

  /** While Redis is away it is waited for, for that long everything does. */
  async #append(stream: LogStream, offsetBytes: number, bytes: Buffer): Promise<'appended' | 'refused' | 'lost'> {
    const { redis, logRoom } = this.#context;
    const { id, epoch } = this.#owner;
    const append = async () => {
      const fleetBytes = await logRoom.bytes();
      if (fleetBytes === 0) return 'refused';
      return (await appendLog(redis, id, epoch, { stream, offsetBytes, bytes }, fleetBytes)) ? 'appended' : 'lost';
    };
    return await this.#lease
      .insist(append, { isFinal: isRefusal })
      .catch((error: unknown) => (isRefusal(error) ? 'refused' : 'lost'));
  }
}

/** What Redis itself says no to, out of memory for instance. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
