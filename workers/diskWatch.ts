/**
 * Keeps jobs within their room on this worker's disk. Nobody can stop a program at its last byte there, so its use is measured while it runs:
 *
 * - Each job every second, or less often where a look takes long (diskPace.ts). One that is beyond its limit ends: it fails.
 * - The file system every second. When it has less room than the reserve all jobs are measured at once. Where none is beyond its limit, the one that
 *   has grown most is given back: the disk must not be full for all. It did nothing wrong, and that counts as a crash of the worker.
 *
 * Between two looks a job may go beyond its limit by what it can write meanwhile.
 */
import { statfs } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { type DiskUse, diskUse, FreezerError } from '../freezer/index.ts';
import { type Look, restMs } from './diskPace.ts';
import { LastAnswer } from './lastAnswer.ts';

const GIB = 2 ** 30;
const LOOK_EVERY_MS = 1000;
/** What must stay free for everybody: a share of the file system, and no more than so much. */
const RESERVE = { share: 0.05, mostBytes: GIB };
/** A job that has grown by less has not filled the disk. */
const GROWTH_BYTES = 64 * 2 ** 20;
const DEFAULTS = { bytes: 100 * GIB, share: 0.5, mostShare: 0.9, files: 2_000_000 };

export interface DiskOptions {
  /** Where runs have their folders. */
  readonly directory: string;
  /** What a job may have that names no `diskBytes`. Default 100 GiB, or half of the file system where that is less. */
  readonly defaultBytes?: number | undefined;
  /** What a job may ask for. Default nine tenths of the file system. */
  readonly mostBytes?: number | undefined;
  /** How many files, folders and links a job may have. Default two million, or half of the file system's where that is less. */
  readonly mostFiles?: number | undefined;
}

/** `overLimit`: the job's own doing, and it fails. `low`: the machine's. One sentence for people. */
export interface DiskExceeded {
  readonly kind: 'overLimit' | 'low';
  readonly message: string;
}

export interface Watched {
  readonly jobId: string;
  readonly directory: string;
  /** As the job's spec has it. */
  readonly diskBytes: number | undefined;
  /** What it has beside the folder, each by itself: one that does not answer in time hides nothing. */
  readonly moreBytes?: readonly (() => Promise<number>)[] | undefined;
  readonly onExceeded: (exceeded: DiskExceeded) => void;
}

interface Entry extends Watched {
  readonly more: readonly LastAnswer[];
  readonly over: AbortController;
  firstBytes: number | null;
  lastBytes: number;
}

/** Of the file system. */
interface Capacity {
  readonly sizeBytes: number;
  readonly files: number;
}

export class DiskWatch {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #defaultBytes: number;
  readonly #mostBytes: number;
  readonly #mostFiles: number;
  readonly #reserveBytes: number;
  readonly #entries = new Set<Entry>();
  /** One look at a time, however many jobs there are. */
  readonly #inTurn = pLimit(1);
  #isLooking = false;

  private constructor(
    { directory, defaultBytes, mostBytes, mostFiles }: DiskOptions,
    { sizeBytes, files }: Capacity,
    logger: Logger,
  ) {
    this.#directory = directory;
    this.#logger = logger;
    this.#mostBytes = mostBytes ?? Math.floor(sizeBytes * DEFAULTS.mostShare);
    const byDefault = defaultBytes ?? Math.min(DEFAULTS.bytes, Math.floor(sizeBytes * DEFAULTS.share));
    this.#defaultBytes = Math.min(byDefault, this.#mostBytes);
    // Some file systems have no fixed number of files, and say 0.
    this.#mostFiles =
      mostFiles ?? Math.min(DEFAULTS.files, files === 0 ? DEFAULTS.files : Math.floor(files * DEFAULTS.share));
    this.#reserveBytes = Math.min(sizeBytes * RESERVE.share, RESERVE.mostBytes);
  }

  /** The folder must be there. */
  static async open(options: DiskOptions, logger: Logger): Promise<DiskWatch> {
    const { blocks, bsize, files } = await statfs(options.directory);
    return new DiskWatch(options, { sizeBytes: blocks * bsize, files }, logger);
  }

  /** Why a job that wants so much cannot run here; null where it can. Another worker may have more. */
  refusal(diskBytes: number | undefined): FreezerError | null {
    if (diskBytes === undefined || diskBytes <= this.#mostBytes) return null;
    const what = `The job wants ${show(diskBytes)} of disk, and this worker gives one job ${show(this.#mostBytes)} at most.`;
    return new FreezerError(
      'notHere',
      what,
      'Submit it with less in `resources.diskBytes`, or let a worker of its pool give more.',
    );
  }

  /** What a job may have whose spec says so. */
  limitsFor(diskBytes: number | undefined): DiskUse {
    return { bytes: diskBytes ?? this.#defaultBytes, files: this.#mostFiles };
  }

  /** Until it is disposed of. */
  watch(watched: Watched): Disposable {
    const over = new AbortController();
    const more = (watched.moreBytes ?? []).map(
      (ask) => new LastAnswer(ask, (error) => over.signal.aborted || this.#cannotMeasure(watched, error)),
    );
    const entry: Entry = { ...watched, more, over, firstBytes: null, lastBytes: 0 };
    this.#entries.add(entry);
    void this.#follow(entry);
    void this.#lookAtDisk();
    return {
      [Symbol.dispose]: () => {
        this.#entries.delete(entry);
        entry.over.abort();
      },
    };
  }

  async #follow(entry: Entry): Promise<void> {
    const { signal } = entry.over;
    let before: Look | null = null;
    while (!signal.aborted) {
      const beganAt = performance.now();
      const use = await this.#measure(entry);
      const exceeded = use && this.#exceeded(entry, use);
      if (exceeded) this.#end(entry, exceeded);
      const look: Look | null = use && { ...use, at: performance.now() };
      const tookMs = performance.now() - beganAt;
      const pauseMs = look
        ? restMs(tookMs, look, before, this.limitsFor(entry.diskBytes))
        : Math.max(LOOK_EVERY_MS, tookMs);
      before = look ?? before;
      await delay(pauseMs, undefined, { signal }).catch(() => undefined); // over: no need to wait
    }
  }

  /** One loop for all jobs, while there are some. */
  async #lookAtDisk(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    while (this.#entries.size > 0) {
      await this.#relieve().catch((error: unknown) => this.#logger.warn({ err: error }, 'cannot look at the disk'));
      await delay(LOOK_EVERY_MS, undefined, { ref: false });
    }
    this.#isLooking = false;
  }

  async #relieve(): Promise<void> {
    if (!(await this.#isLow())) return;
    const entries = [...this.#entries];
    const uses = await Promise.all(entries.map((entry) => this.#measure(entry)));
    const overLimit = entries.flatMap((entry, at) => {
      const exceeded = uses[at] && this.#exceeded(entry, uses[at]);
      return exceeded ? [{ entry, exceeded }] : [];
    });
    for (const { entry, exceeded } of overLimit) this.#end(entry, exceeded);
    // Whoever has ended meanwhile may have been the one.
    if (overLimit.length > 0 || !(await this.#isLow())) return;
    const grown = (entry: Entry) => entry.lastBytes - (entry.firstBytes ?? entry.lastBytes);
    const largest = [...this.#entries].sort((a, b) => grown(b) - grown(a))[0];
    if (largest === undefined || grown(largest) < GROWTH_BYTES) return;
    const message = `The worker's disk was about to be full, and this job had grown most, by ${show(grown(largest))}.`;
    this.#end(largest, { kind: 'low', message });
  }

  async #isLow(): Promise<boolean> {
    const { bavail, bsize } = await statfs(this.#directory);
    return bavail * bsize < this.#reserveBytes;
  }

  /** Once, and then it is watched no more. */
  #end(entry: Entry, exceeded: DiskExceeded): void {
    if (!this.#entries.delete(entry)) return;
    entry.over.abort();
    this.#logger.warn({ jobId: entry.jobId, ...exceeded }, 'a job has too much on the disk');
    entry.onExceeded(exceeded);
  }

  /** Null where that cannot be told now. */
  async #measure(entry: Entry): Promise<DiskUse | null> {
    const { signal } = entry.over;
    try {
      const [use, moreBytes] = await Promise.all([
        this.#inTurn(() => diskUse(entry.directory, signal, this.limitsFor(entry.diskBytes))),
        Promise.all(entry.more.map((answer) => answer.get())),
      ]);
      const bytes = moreBytes.reduce((sum, each) => sum + each, use.bytes);
      entry.firstBytes ??= bytes;
      entry.lastBytes = bytes;
      return { ...use, bytes };
    } catch (error) {
      if (!signal.aborted) this.#cannotMeasure(entry, error);
      return null;
    }
  }

  #cannotMeasure({ jobId }: Watched, error: unknown): void {
    this.#logger.warn({ jobId, err: error }, 'cannot measure all that a job has on the disk');
  }

  #exceeded({ diskBytes }: Entry, { bytes, files }: DiskUse): DiskExceeded | null {
    const limits = this.limitsFor(diskBytes);
    if (bytes > limits.bytes) {
      const message = `The job had ${show(bytes)} on the worker's disk, and its limit is ${show(limits.bytes)}: submit it with more \`resources.diskBytes\`, or let it write less.`;
      return { kind: 'overLimit', message };
    }
    if (files <= limits.files) return null;
    const message = `The job had ${files} files and folders, and the limit is ${limits.files}: let it write fewer and larger ones, or raise FLOE_MAX_FILES on the workers.`;
    return { kind: 'overLimit', message };
  }
}

function show(bytes: number): string {
  return bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
