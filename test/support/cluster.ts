/**
 * All of Floe for end-to-end tests, as separate processes on one machine: a Redis, a store, and workers started as users
 * start them, each on a pretended spot machine with a state folder and a metadata endpoint of its own.
 *
 * Disposing ends and removes all of it, and fails when a worker has left a process behind. `FLOE_TEST_LOGS=1` shows what
 * the workers log.
 */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import { JobEvent, openQueue, poolOfJobId, redisKeys } from '../../jobs/index.ts';
import { Floe, isFinal, type JobRecord, type JobSpecInput, type JobView } from '../../producers/index.ts';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { type ProgramName, program } from './programs.ts';
import { startRedis, type TestRedis } from './redis.ts';
import { defaultToolbox } from './toolbox.ts';
import { WorkerProcess, type WorkerSettings } from './workerProcess.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');
const WAIT = { timeout: 90_000, interval: 50 };

export interface ClusterOptions {
  /** Default: a folder. */
  readonly storeUrl?: string;
  /** For every process, this one included. */
  readonly environment?: Readonly<Record<string, string>>;
}

export class Cluster implements AsyncDisposable {
  readonly directory: string;
  readonly redis: TestRedis;
  readonly storeUrl: string;
  readonly store: Store;
  readonly floe: Floe;
  /** To look at what the API does not show. */
  readonly client: Redis;
  readonly #workers: WorkerProcess[] = [];

  private constructor(parts: Pick<Cluster, 'directory' | 'redis' | 'storeUrl' | 'store' | 'floe' | 'client'>) {
    ({
      directory: this.directory,
      redis: this.redis,
      storeUrl: this.storeUrl,
      store: this.store,
      floe: this.floe,
      client: this.client,
    } = parts);
  }

  static async open(options: ClusterOptions = {}): Promise<Cluster> {
    for (const [name, value] of Object.entries(options.environment ?? {})) vi.stubEnv(name, value);
    const directory = await mkdtemp(join(tmpdir(), 'floe-cluster-'));
    const storeUrl = options.storeUrl ?? pathToFileURL(join(directory, 'store')).href;
    const redis = await startRedis();
    const store = await openStore(storeUrl);
    const floe = await Floe.open({ redisUrl: redis.url, store: storeUrl, stateDir: directory });
    const client = new Redis(redis.url, { maxRetriesPerRequest: null });
    client.on('error', () => undefined); // tests take Redis away
    return new Cluster({ directory, redis, storeUrl, store, floe, client });
  }

  /** Starts a worker and resolves when it is ready. */
  async worker(name: string, settings: WorkerSettings = {}): Promise<WorkerProcess> {
    const { directory, redis, storeUrl } = this;
    const worker = await WorkerProcess.start(name, { directory, redisUrl: redis.url, storeUrl }, settings);
    this.#workers.push(worker);
    await worker.says('ready');
    return worker;
  }

  /** A reference program, which goes along in the workspace. */
  async submitProgram(name: ProgramName, words: string[], more: Partial<JobSpecInput> = {}): Promise<string> {
    const workspace = join(this.directory, 'workspace');
    await mkdir(workspace, { recursive: true });
    await copyFile(await program(name), join(workspace, name));
    return this.floe.submit({ command: [`./${name}`, ...words], ...more }, { workspace });
  }

  /** `floe`, as a user has it. */
  cli(...words: string[]): ReturnType<Cluster['cliWith']> {
    return this.cliWith({}, ...words);
  }

  /** The same with more in its environment. */
  async cliWith(
    environment: Readonly<Record<string, string>>,
    ...words: string[]
  ): Promise<{ exitCode: number | undefined; stdout: string; stderr: string }> {
    const env = {
      FLOE_REDIS_URL: this.redis.url,
      FLOE_STORE: this.storeUrl,
      FLOE_STATE_DIR: this.directory,
      FLOE_TOOLBOX: defaultToolbox(),
      ...environment,
    };
    const { exitCode, stdout, stderr } = await execa(process.execPath, [FLOE, ...words], {
      cwd: this.directory,
      reject: false,
      timeout: 60_000, // a daemon that ought to have refused
      killSignal: 'SIGKILL',
      env,
    });
    return { exitCode, stdout, stderr };
  }

  /** Waits until the job's record says so; what it says instead is in the failure, which comes at once if the job has ended. */
  async until(id: string, fields: Partial<JobRecord>): Promise<JobView> {
    const view = await vi.waitFor(async () => {
      const found = await this.floe.get(id);
      if (!isFinal(found.state)) expect(found).toMatchObject(fields);
      return found;
    }, WAIT);
    if (isFinal(view.state)) expect(view, (await this.log(id)).slice(-300)).toMatchObject(fields);
    return view;
  }

  /** What the job has written, as `floe logs` shows it at the moment. */
  async log(id: string, stream: 'stdout' | 'stderr' = 'stdout'): Promise<string> {
    const entries = await Array.fromAsync(this.floe.logs(id));
    const pieces = entries.flatMap((entry) => (entry.kind === 'text' && entry.stream === stream ? [entry.bytes] : []));
    return String(Buffer.concat(pieces));
  }

  /** Waits until the job has written this many lines more. */
  async untilLines(id: string, count: number): Promise<void> {
    const lines = async () => (await this.log(id)).split('\n').length;
    const before = await lines();
    await vi.waitFor(async () => expect(await lines()).toBeGreaterThanOrEqual(before + count), WAIT);
  }

  /** What has happened to the job, oldest first. */
  async events(id: string): Promise<JobEvent[]> {
    const entries = await this.client.xrange(redisKeys.events, '-', '+');
    const events = entries.map(([, fields]) => JobEvent.parse(JSON.parse(fields[1] ?? '')));
    return events.filter((event) => event.jobId === id);
  }

  /** Waits until such a thing has happened to the job `count` times. */
  async untilEvent(id: string, type: JobEvent['type'], count = 1): Promise<JobEvent> {
    return vi.waitFor(async () => {
      const event = (await this.events(id)).filter((each) => each.type === type)[count - 1];
      if (event === undefined) throw new Error(`${id} has not had ${count} × ${type}.`);
      return event;
    }, WAIT);
  }

  /** The attempts that BullMQ has counted. */
  async attemptsMade(id: string): Promise<number | undefined> {
    await using queue = new AsyncDisposableStack();
    const opened = queue.adopt(openQueue(poolOfJobId(id), this.client), (each) => each.close());
    return (await opened.getJob(id))?.attemptsMade;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using _end = {
      [Symbol.asyncDispose]: async () => {
        vi.unstubAllEnvs();
        this.client.disconnect();
        await this.floe[Symbol.asyncDispose]();
        await this.store[Symbol.asyncDispose]();
        await this.redis[Symbol.asyncDispose]();
        await rm(this.directory, { recursive: true, force: true });
      },
    };
    const ends = await Promise.allSettled(this.#workers.map((worker) => worker[Symbol.asyncDispose]()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }
}
