/** The producer API: submit jobs, watch them, end them, fetch what they made. */
import { loadConfig } from '../jobs/config.ts';
import { FloeError } from '../jobs/errors.ts';
import type { JobEvent } from '../jobs/events.ts';
import { listWorkers, sendRequest, type WorkerDescription } from '../jobs/fleet.ts';
import { listRecords } from '../jobs/list.ts';
import type { LogEntry } from '../jobs/log.ts';
import type { JobResult } from '../jobs/result.ts';
import type { JobSpecInput } from '../jobs/spec.ts';
import { isFinal, type JobState } from '../jobs/state.ts';
import { getFolder } from '../store/folder.ts';
import { type Cancellation, cancelJob } from './cancel.ts';
import { Connections } from './connections.ts';
import { asFloeError } from './failures.ts';
import { type CommittedCheckpoint, follow, requestCheckpoint, waitForResult } from './follow.ts';
import { jobLog, type LogOptions } from './logs.ts';
import { type Submission, type SubmitOptions, submitAll } from './submit.ts';
import { type JobSummary, type JobView, readJob, requireRecord, summarize } from './view.ts';

/** Whatever is not given comes from the environment, `floe.yaml` or the defaults. */
export interface FloeOptions {
  /** `redis://…`, `rediss://…` or `unix:///path`. Default: a server of Floe's own under `stateDir`. */
  readonly redisUrl?: string | undefined;
  /** `s3://bucket[/prefix]` or `file:///folder`. Default: `store` under `stateDir`. */
  readonly store?: string | undefined;
  readonly stateDir?: string | undefined;
}

export interface ListOptions {
  readonly pool?: string | undefined;
  readonly state?: JobState | readonly JobState[] | undefined;
  /** At most this many, the newest. Default 100. */
  readonly limit?: number | undefined;
}

interface Cancellable {
  readonly signal?: AbortSignal;
}

/**
 * Every method may reject with `FloeError` `redisUnreachable` or `redisRefused`; those that need the store with
 * `storeFailed`; those that take an id with `notFound`.
 *
 * ```ts
 * await using floe = await Floe.open();
 * const id = await floe.submit({ command: ['xz', '-9', 'data.tar'] }, { workspace: './data' });
 * const result = await floe.waitUntilFinished(id);
 * ```
 */
export class Floe implements AsyncDisposable {
  readonly #connections: Connections;

  private constructor(connections: Connections) {
    this.#connections = connections;
  }

  /** Resolves once Redis has answered. Throws `invalidOption` as well. */
  static async open(options: FloeOptions = {}): Promise<Floe> {
    return new Floe(await Connections.open(loadConfig({ flags: options })));
  }

  /**
   * Uploads the workspace, then queues the job. Resolves to its id. Throws `invalidJob`, which names the wrong
   * field. After a rejection there is no job.
   */
  async submit(spec: JobSpecInput, options: SubmitOptions & Pick<Submission, 'workspace'> = {}): Promise<string> {
    const [id = ''] = await this.submitBulk([{ spec, workspace: options.workspace }], options);
    return id;
  }

  /** As `submit`, for many: all of them, or none. Resolves to their ids, in the order given. */
  submitBulk(submissions: readonly Submission[], options: SubmitOptions = {}): Promise<string[]> {
    return this.#explain(submitAll(this.#connections, submissions, options));
  }

  get(id: string): Promise<JobView> {
    return this.#explain(readJob(this.#connections, id));
  }

  /** The newest jobs first. */
  list(options: ListOptions = {}): Promise<JobSummary[]> {
    const states = options.state === undefined ? undefined : [options.state].flat();
    const found = listRecords(this.#connections.redis, { pool: options.pool, states, limit: options.limit ?? 100 });
    return this.#explain(found.then((jobs) => jobs.map(({ id, record }) => summarize(id, record))));
  }

  /** Ends a job that waits, or asks its worker to. Throws `conflict` when it has ended already. */
  cancel(id: string): Promise<Cancellation> {
    return this.#explain(cancelJob(this.#connections, id));
  }

  /**
   * Has a checkpoint taken of a running job, which then runs on. Throws `conflict` when it does not run, `cannotFreeze`
   * when it runs on without a new checkpoint.
   */
  checkpoint(id: string, options: Cancellable = {}): Promise<CommittedCheckpoint> {
    return this.#explain(requestCheckpoint(this.#connections, id, options.signal ?? never()));
  }

  /** What the job wrote, from the beginning on. */
  async *logs(id: string, options: LogOptions = {}): AsyncGenerator<LogEntry, void> {
    try {
      yield* jobLog(this.#connections, id, options);
    } catch (error) {
      throw asFloeError(error, this.#connections.config);
    }
  }

  /** How the job ended, once it has; a failed job resolves too. Rejects with the signal's reason when that aborts. */
  waitUntilFinished(id: string, options: Cancellable = {}): Promise<JobResult> {
    return this.#explain(waitForResult(this.#connections, id, options.signal ?? never()));
  }

  /** Writes a finished job's outputs into `folder`, which is made if need be. Throws `conflict` before its end. */
  fetchOutputs(id: string, folder: string, options: Cancellable = {}): Promise<NonNullable<JobResult['outputs']>> {
    return this.#explain(this.#fetchOutputs(id, folder, options));
  }

  /** Every worker that is alive. */
  workers(): Promise<WorkerDescription[]> {
    return this.#explain(listWorkers(this.#connections.redis));
  }

  /** Asks a worker to freeze its jobs, give them back and end. */
  drain(worker: string): Promise<void> {
    return this.#explain(this.#drain(worker));
  }

  /** Everything that happens to any job from now on, until the signal aborts. */
  async *events(options: { readonly signal: AbortSignal }): AsyncGenerator<JobEvent, void> {
    try {
      yield* follow(this.#connections, options.signal);
    } catch (error) {
      throw asFloeError(error, this.#connections.config);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections[Symbol.asyncDispose]();
  }

  async #fetchOutputs(id: string, folder: string, options: Cancellable): Promise<NonNullable<JobResult['outputs']>> {
    const { state, result } = await requireRecord(this.#connections.redis, id);
    if (!isFinal(state)) {
      throw new FloeError('conflict', `${id} has no outputs yet: it is ${state}.`, `Run \`floe wait ${id}\` first.`);
    }
    const outputs = result?.outputs;
    if (!outputs) {
      throw new FloeError('notFound', `${id} kept no outputs.`, `\`floe status ${id}\` tells how it ended.`);
    }
    const { key, sizeBytes, sha256 } = outputs;
    const { toolbox } = this.#connections.config;
    // Refused as `substituted` where another object lies there. Results of older versions do not say.
    const expected = sha256 === undefined ? undefined : { sizeBytes, sha256 };
    await getFolder(await this.#connections.store(), key, folder, { ...options, toolboxDirectory: toolbox, expected });
    return outputs;
  }

  async #drain(worker: string): Promise<void> {
    if (await sendRequest(this.#connections.redis, { type: 'drain', worker })) return;
    throw new FloeError('notFound', `There is no worker "${worker}".`, 'List them with `floe workers`.');
  }

  async #explain<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw asFloeError(error, this.#connections.config);
    }
  }
}

function never(): AbortSignal {
  return new AbortController().signal;
}
