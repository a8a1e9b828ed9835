/** What a worker needs around it, for tests: a real Redis, a store in a folder, and workers in this process. */
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { expect } from 'vitest';
import { openProcessRuntime, type Runtime } from '../../freezer/index.ts';
import {
  connectTo,
  createRecords,
  displayName,
  type JobData,
  JobEvent,
  type JobRecord,
  type JobSpec,
  type JobSpecInput,
  newJobId,
  openQueue,
  parseJobSpec,
  queueOptions,
  type RunRecord,
  readLog,
  readRecord,
  readRuns,
  redisKeys,
  storeKeys,
} from '../../jobs/index.ts';
import { putFolder } from '../../store/folder.ts';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { type ProgramName, program } from '../../test/support/programs.ts';
import { startRedis, type TestRedis } from '../../test/support/redis.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { type RunningWorker, startWorker, type WorkerOptions } from '../index.ts';

export type StackOptions = Partial<
  Pick<
    WorkerOptions,
    | 'slots'
    | 'pools'
    | 'lockDurationMs'
    | 'stopMarginMs'
    | 'store'
    | 'storeUrl'
    | 'encryptionKeys'
    | 'secretsDirectory'
    | 'logger'
  >
> & {
  disk?: Partial<WorkerOptions['disk']>;
  runtime?: (runtime: Runtime, stateDirectory: string) => Runtime;
};

export class Stack implements AsyncDisposable {
  readonly directory: string;
  readonly server: TestRedis;
  readonly redis: Redis;
  readonly store: Store;
  readonly #workers: RunningWorker[] = [];
  readonly #queues = new Map<string, Queue<JobData>>();

  private constructor(directory: string, server: TestRedis, redis: Redis, store: Store) {
    this.directory = directory;
    this.server = server;
    this.redis = redis;
    this.store = store;
  }

  static async open(): Promise<Stack> {
    const directory = await mkdtemp(join(tmpdir(), 'floe-worker-'));
    const server = await startRedis();
    const redis = await connectTo(server.url, { whenLost: 'wait' });
    const store = await openStore(storeUrlIn(directory));
    return new Stack(directory, server, redis, store);
  }

  get storeUrl(): string {
    return storeUrlIn(this.directory);
  }

  queue(pool = 'default'): Queue<JobData> {
    const queue = this.#queues.get(pool) ?? openQueue(pool, this.redis);
    this.#queues.set(pool, queue);
    return queue;
  }

  /** As producers do it. `workspace`: a folder. */
  async submit(spec: JobSpecInput, workspace?: string): Promise<string> {
    return this.add(parseJobSpec(spec), workspace);
  }

  /** The self-verifying job: `steps` steps of `paceMs`, each of which writes a line. */
  async submitMemory(steps: number, paceMs: number, more: Partial<JobSpecInput> = {}): Promise<string> {
    const words = ['8', String(steps), 'plain', '--pace-ms', String(paceMs)];
    return this.submitProgram('memory', words, { outputs: ['memory.record'], ...more });
  }

  /** A reference program, which goes along in the workspace. */
  async submitProgram(name: ProgramName, words: string[], more: Partial<JobSpecInput> = {}): Promise<string> {
    const workspace = join(this.directory, 'workspace');
    await mkdir(workspace, { recursive: true });
    await copyFile(await program(name), join(workspace, name));
    return this.submit({ command: [`./${name}`, ...words], ...more }, workspace);
  }

  async add(spec: JobSpec, workspace?: string): Promise<string> {
    const id = newJobId(spec.pool);
    await createRecords(this.redis, [{ id, name: displayName(spec), keepsCheckpoints: spec.checkpoint.keepAtEnd }]);
    const key = storeKeys.input(id);
    const input = workspace ? await this.#storeInput(key, workspace) : null;
    const data = { spec, input, submittedAt: Date.now() };
    await this.queue(spec.pool).add(displayName(spec), data, queueOptions(id, spec));
    return id;
  }

  async #storeInput(key: string, workspace: string): Promise<JobData['input']> {
    const { sizeBytes, sha256 } = await putFolder(this.store, key, workspace);
    return { key, sizeBytes, sha256 };
  }

  async worker(name: string, options: StackOptions = {}): Promise<RunningWorker> {
    const stateDirectory = join(this.directory, name);
    const runtime = openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() });
    const worker = await startWorker({
      name,
      redis: await this.#connect(),
      store: options.store ?? this.store,
      storeUrl: options.storeUrl ?? this.storeUrl,
      toolboxDirectory: defaultToolbox(),
      encryptionKeys: options.encryptionKeys ?? [],
      secretsDirectory: options.secretsDirectory ?? null,
      runtime: options.runtime?.(runtime, stateDirectory) ?? runtime,
      disk: { directory: this.directory, ...options.disk },
      pools: options.pools ?? ['default'],
      slots: options.slots ?? 1,
      lockDurationMs: options.lockDurationMs ?? 30_000,
      stopMarginMs: options.stopMarginMs ?? 5000,
      noticeSources: [],
      logger: options.logger ?? pino({ level: process.env.FLOE_LOG_LEVEL ?? 'silent', base: { worker: name } }),
    });
    this.#workers.push(worker);
    return worker;
  }

  /** Puts a file `go` into the workspace of the run that began last on that worker, for a program that waits for it. */
  async letGo(worker: string): Promise<void> {
    const runs = join(this.directory, worker, 'runs');
    const [run = ''] = (await readdir(runs)).slice(-1);
    await writeFile(join(runs, run, 'files/workspace/go'), '');
  }

  async record(id: string): Promise<JobRecord> {
    const record = await readRecord(this.redis, id);
    if (record === null) throw new Error(`There is no record of ${id}.`);
    return record;
  }

  /** Waits until the record says so; what it says instead is in the failure. */
  async until(id: string, fields: Partial<JobRecord>): Promise<JobRecord> {
    await expect.poll(() => this.record(id), { timeout: 60_000, interval: 50 }).toMatchObject(fields);
    return this.record(id);
  }

  /** What is shown of the job's log at the moment. */
  async log(id: string): Promise<string> {
    let text = '';
    const options = { follow: false, signal: new AbortController().signal };
    for await (const entry of readLog(this.redis, id, options)) {
      if (entry.kind === 'text' && entry.stream === 'stdout') text += entry.bytes.toString();
    }
    return text;
  }

  /** Waits until the self-verifying job has made this many steps more, on whatever worker. */
  async untilSteps(id: string, count: number): Promise<void> {
    const steps = async () => (await this.log(id)).split('\n').length;
    const before = await steps();
    await expect.poll(steps, { timeout: 60_000, interval: 50 }).toBeGreaterThan(before + count);
  }

  /** The complete log that the job left. */
  async keptLog(id: string): Promise<string> {
    const { result } = await this.record(id);
    return String(await this.store.get(result?.logs?.stdout.key ?? 'no-log'));
  }

  async runs(id: string): Promise<RunRecord[]> {
    return readRuns(this.redis, id);
  }

  async events(id: string): Promise<JobEvent[]> {
    const entries = await this.redis.xrange(redisKeys.events, '-', '+');
    const events = entries.map(([, fields]) => JobEvent.parse(JSON.parse(fields[1] ?? '')));
    return events.filter((event) => event.jobId === id);
  }

  async eventTypes(id: string): Promise<string[]> {
    return (await this.events(id)).map(({ type }) => type);
  }

  /** What BullMQ tells of what happened in a pool's queue, by name. */
  async queueEvents(): Promise<(string | undefined)[]> {
    const entries = await this.redis.xrange(this.queue().keys.events ?? '', '-', '+');
    return entries.map(([, fields]) => fields[fields.indexOf('event') + 1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker[Symbol.asyncDispose]()));
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    for (const connection of this.#connections) connection.disconnect();
    this.redis.disconnect();
    await this.store[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }

  readonly #connections: Redis[] = [];

  async #connect(): Promise<Redis> {
    const redis = await connectTo(this.server.url, { whenLost: 'wait' });
    this.#connections.push(redis);
    return redis;
  }
}

function storeUrlIn(directory: string): string {
  return `file://${join(directory, 'store')}`;
}
