/**
 * The daemon: takes jobs while nothing threatens this machine, and gives them back when something does.
 *
 *   ready ──► draining ──► ended
 *
 * - `ready`: jobs are taken while slots are free. A hint checkpoints all of them and changes nothing else.
 * - `draining`, after a notice: first no job is taken any more, or the worker would get back what it gives back. Then every
 *   job is frozen, in the order of triage, and given back. Where no deadline is known, a job that cannot be frozen runs
 *   to its end; at a deadline it is killed and goes on from its last checkpoint elsewhere.
 * - `ended`: no job is left. The worker has taken its leave of the fleet.
 */
import { hostname } from 'node:os';
import type { Redis } from 'ioredis';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { homeOf } from '../freezer/encryption/home.ts';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { Signatures } from '../freezer/encryption/signature.ts';
import { keepSpareEngine, type Runtime } from '../freezer/index.ts';
import { DEFAULT_LOG_BYTES_IN_REDIS, type WorkerDescription } from '../jobs/index.ts';
import type { Store } from '../store/store.ts';
import type { WorkerContext } from './context.ts';
import { type DiskOptions, DiskWatch } from './diskWatch.ts';
import { raiseEpollWatches } from './epollWatches.ts';
import { Intake } from './intake.ts';
import { LogRoom } from './logRoom.ts';
import type { Notice, NoticeSource } from './notices/source.ts';
import { Presence } from './presence.ts';
import { Stint } from './stint.ts';
import { FreezeRate, planFreezes } from './triage.ts';

const FREEZES_AT_ONCE = 2;

export interface WorkerOptions {
  /** Unique in the fleet. */
  readonly name: string;
  /** A connection that waits for Redis when it is away (`connectRedis` with `wait`); stays the caller's. */
  readonly redis: Redis;
  /** Stays the caller's. */
  readonly store: Store;
  /** The URL that opens the same store. */
  readonly storeUrl: string;
  /** Master keys of checkpoints, as in a `CheckpointPlace`. Default none. */
  readonly encryptionKeys?: readonly string[];
  /** As in `FreezeOptions`. */
  readonly bufferBytes?: number;
  /** What the logs of all jobs of the fleet may have in Redis. Default 256 MiB. */
  readonly logBytesInRedis?: number;
  /** Folder of jobs' secrets, see operatorSecrets.ts. Default none. */
  readonly secretsDirectory?: string | null;
  /** Confines the processes that open jobs' files (store/archive). Default: they run unconfined. */
  readonly toolboxDirectory?: string;
  readonly runtime: Runtime;
  readonly disk: DiskOptions;
  /** Pools whose jobs it takes, in that order. */
  readonly pools: readonly string[];
  /** Jobs that run at once. */
  readonly slots: number;
  /** How long a job stays with a worker that no longer says anything, ms. */
  readonly lockDurationMs: number;
  /** How long before a lock expires a job is killed whose lock could not be renewed, ms. */
  readonly stopMarginMs: number;
  readonly noticeSources: readonly NoticeSource[];
  readonly logger: Logger;
}

/** Disposing is `kill`, and resolves when it has ended. */
export interface RunningWorker extends AsyncDisposable {
  readonly name: string;
  /** Resolves when it has ended, after a notice or `kill`. */
  readonly ended: Promise<void>;
  /** As if one of its sources had told it. */
  notify(notice: Notice): void;
  /** Kills all containers and ends. The jobs are taken up elsewhere when their locks have expired, from their last checkpoints. */
  kill(): void;
}

/** Throws `FreezerError` `cannotRun` when this machine cannot freeze. */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const machine = await options.runtime.check();
  await raiseEpollWatches(options.logger);
  void keepSpareEngine({ storeUrl: options.storeUrl });
  const daemon = new Daemon(options, machine, await DiskWatch.open(options.disk, options.logger));
  await daemon.start();
  return daemon;
}

class Daemon implements RunningWorker {
  readonly name: string;
  readonly ended: Promise<void>;
  readonly #options: WorkerOptions;
  readonly #machine: { criuVersion: string; cpuFeatures: string[] };
  readonly #context: WorkerContext;
  readonly #intake: Intake;
  readonly #stints = new Set<Stint>();
  readonly #startedAt = Date.now();
  readonly #over = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #presence: Presence | undefined;
  #notice: Notice | null = null;
  #draining: Promise<void> | undefined;

  constructor(options: WorkerOptions, machine: { criuVersion: string; cpuFeatures: string[] }, disk: DiskWatch) {
    const { name, redis, store, storeUrl, runtime, logger, pools, slots, lockDurationMs, stopMarginMs } = options;
    this.name = name;
    this.ended = this.#ended.promise;
    this.#options = options;
    this.#machine = machine;
    this.#context = {
      worker: name,
      redis,
      logRoom: new LogRoom(redis, options.logBytesInRedis ?? DEFAULT_LOG_BYTES_IN_REDIS),
      store,
      storeUrl,
      encryptionKeys: options.encryptionKeys ?? [],
      signatures: new Signatures(KeyRing.of(options.encryptionKeys), homeOf(store.url)),
      bufferBytes: options.bufferBytes,
      secretsDirectory: options.secretsDirectory ?? null,
      toolboxDirectory: options.toolboxDirectory,
      runtime,
      disk,
      logger,
      cpuFeatures: machine.cpuFeatures,
      leaseTerms: { lockDurationMs, stopMarginMs },
      freezes: pLimit(FREEZES_AT_ONCE),
      freezeRate: new FreezeRate(),
      stepAside: () => this.#intake.stepAside(),
    };
    const run = (job: ConstructorParameters<typeof Stint>[1], token: string) =>
      this.#run(new Stint(this.#context, job, token));
    this.#intake = new Intake({ worker: name, redis, pools, slots, lockDurationMs, logger, run });
  }

  async start(): Promise<void> {
    const { redis, logger, pools, slots } = this.#options;
    this.#presence = await Presence.open({
      redis,
      logger,
      describe: () => this.#describe(),
      onDrain: () => this.#drainOnRequest(),
      onJobRequest: (jobId) => this.#lookForRequests(jobId),
    });
    this.#intake.start();
    for (const source of this.#options.noticeSources) void this.#listen(source);
    logger.info({ pools, slots, criuVersion: this.#machine.criuVersion }, 'ready');
  }

  notify(notice: Notice): void {
    const { logger } = this.#options;
    logger.info(
      { notice, jobs: this.#jobIds() },
      notice.kind === 'hint' ? 'this machine may go away' : 'this machine goes away',
    );
    if (notice.kind === 'hint') for (const stint of this.#stints) stint.checkpoint(notice.source);
    else this.#drain(notice);
  }

  kill(): void {
    for (const stint of this.#stints) stint.kill();
    this.#leave({ kind: 'notice', source: 'killed', deadlineAt: Date.now() });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.ended;
  }

  async #run(stint: Stint): Promise<void> {
    this.#stints.add(stint);
    void this.#presence?.beat();
    await stint.done;
    this.#stints.delete(stint);
    void this.#presence?.beat();
  }

  /** From here on no job is taken. */
  #leave(notice: Notice): void {
    const deadlineOf = (each: Notice | null) => each?.deadlineAt ?? Number.POSITIVE_INFINITY;
    if (this.#notice === null || deadlineOf(notice) < deadlineOf(this.#notice)) this.#notice = notice;
    this.#draining ??= this.#end();
    void this.#presence?.beat();
  }

  #drain(notice: Notice): void {
    this.#leave(notice);
    const remainingMs = notice.deadlineAt === null ? null : notice.deadlineAt - Date.now();
    const jobs = [...this.#stints].map((stint) => stint.describe());
    for (const { jobId, fits } of planFreezes(jobs, remainingMs)) {
      if (!fits) this.#options.logger.warn({ jobId }, 'may not be saved in time');
      this.#stintsOf(jobId).forEach((stint) => {
        stint.move(notice);
      });
    }
  }

  /** Waits for the jobs to be gone, and takes its leave. */
  async #end(): Promise<void> {
    try {
      await this.#intake.stop();
      await Promise.all([...this.#stints].map((stint) => stint.done));
      this.#over.abort();
      await this.#intake.close();
      await this.#presence?.[Symbol.asyncDispose]();
      this.#options.logger.info('ended');
      this.#ended.resolve();
    } catch (error) {
      this.#ended.reject(error);
    }
  }

  #drainOnRequest(): void {
    if (this.#notice === null) this.notify({ kind: 'notice', source: 'drain request', deadlineAt: null });
  }

  #lookForRequests(jobId: string): void {
    for (const stint of this.#stintsOf(jobId)) {
      stint.lookForRequests().catch((error: unknown) => {
        // The next renewal of the lock looks again.
        this.#options.logger.warn({ jobId, err: error }, 'cannot look for requests');
      });
    }
  }

  /** Two for a moment, when a job comes back while its last run here is being cleared away. */
  #stintsOf(jobId: string): Stint[] {
    return [...this.#stints].filter((stint) => stint.jobId === jobId);
  }

  #jobIds(): string[] {
    return [...new Set([...this.#stints].map(({ jobId }) => jobId))];
  }

  async #listen(source: NoticeSource): Promise<void> {
    try {
      for await (const notice of source.watch(this.#over.signal)) this.notify(notice);
    } catch (error) {
      this.#options.logger.error({ source: source.name, err: error }, 'no notices from this source any more');
    }
  }

  #describe(): WorkerDescription {
    const { pools, slots, runtime } = this.#options;
    const notice = this.#notice;
    return {
      name: this.name,
      host: hostname(),
      pid: process.pid,
      pools: [...pools],
      slots,
      jobs: this.#jobIds(),
      state: notice === null ? 'ready' : 'draining',
      notice: notice === null ? null : { source: notice.source, deadlineAt: notice.deadlineAt },
      runtime: runtime.name,
      criuVersion: this.#machine.criuVersion,
      cpuFeatures: this.#machine.cpuFeatures,
      startedAt: this.#startedAt,
      heartbeatAt: Date.now(),
    };
  }
}
