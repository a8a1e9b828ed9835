/** `floe worker` as a process of its own, on a pretended spot machine. */
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { type Metadata, startMetadata } from '../../scripts/demo/metadata.ts';
import { processTree, type RunningProcess, stillRunning } from './processes.ts';
import { defaultToolbox } from './toolbox.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');
/** Short, so that a dead worker's jobs are soon taken up; long enough for a machine that has more to do. */
const LOCK = { lockDurationMs: 3000, stopMarginMs: 1000 };
const NOTICE_MS = 60_000;

export interface WorkerSettings {
  /** Default 1. */
  readonly slots?: number;
  readonly lockDurationMs?: number;
  readonly stopMarginMs?: number;
  /** As `FLOE_RUNTIMES`. Default `process`. */
  readonly runtimes?: string;
  /** As `FLOE_SECRETS_DIR`. Default none. */
  readonly secretsDir?: string;
  /** As `FLOE_PROCESS_NETWORK`: `host` where jobs tell the test something. Default `isolated`. */
  readonly processNetwork?: 'isolated' | 'host';
}

interface Place {
  readonly directory: string;
  readonly redisUrl: string;
  readonly storeUrl: string;
}

type Child = ReturnType<typeof spawnWorker>;

export class WorkerProcess implements AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** Resolves to its exit code when it is gone; null when it was killed. */
  readonly ended: Promise<number | null>;
  readonly #metadata: Metadata;
  readonly #child: Child;
  readonly #output = new EventEmitter();
  #log = '';
  #tree: RunningProcess[] = [];

  private constructor(name: string, metadata: Metadata, child: Child) {
    this.name = name;
    this.pid = child.pid ?? 0;
    this.#metadata = metadata;
    this.#child = child;
    this.ended = once(child, 'close').then(([exitCode]) => exitCode);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => this.#hear(String(bytes)));
    void this.ended.then(() => this.#output.emit('more'));
  }

  static async start(name: string, place: Place, settings: WorkerSettings): Promise<WorkerProcess> {
    const metadata = await startMetadata();
    const stateDir = join(place.directory, name);
    await mkdir(stateDir, { recursive: true });
    return new WorkerProcess(name, metadata, spawnWorker(name, stateDir, place, metadata.url, settings));
  }

  /** Resolves when its log has this text; rejects when it ends without. */
  async says(text: string): Promise<void> {
    while (!this.#log.includes(text)) {
      if (!this.isRunning) throw new Error(`Worker ${this.name} ended without saying "${text}":\n${this.#log}`);
      await once(this.#output, 'more');
    }
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The cloud gives notice over EC2's metadata endpoint. Resolves when the worker has left. */
  async interrupt(): Promise<void> {
    this.#metadata.interrupt(NOTICE_MS);
    expect(await this.ended).toBe(0);
  }

  /** Every process that it started, and itself. */
  async processes(): Promise<RunningProcess[]> {
    this.#tree = await processTree(this.pid);
    return this.#tree;
  }

  /** Sends it a signal, and to nobody else. */
  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** As a machine that vanishes: resolves when the worker and everything that it started is gone. */
  async crash(): Promise<void> {
    const tree = this.isRunning ? await this.processes() : this.#tree;
    this.kill('SIGKILL');
    await this.ended;
    await vi.waitFor(async () => expect(await stillRunning(tree)).toEqual([]), { timeout: 20_000, interval: 20 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.crash();
    } finally {
      for (const { pid } of await stillRunning(this.#tree)) process.kill(pid, 'SIGKILL');
      await this.#metadata[Symbol.asyncDispose]();
    }
  }

  #hear(text: string): void {
    this.#log += text;
    if (process.env.FLOE_TEST_LOGS) process.stderr.write(text);
    this.#output.emit('more');
  }
}

function spawnWorker(name: string, stateDir: string, place: Place, metadataUrl: string, settings: WorkerSettings) {
  return spawn(process.execPath, [FLOE, 'worker'], {
    cwd: stateDir,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      FLOE_REDIS_URL: place.redisUrl,
      FLOE_STORE: place.storeUrl,
      FLOE_STATE_DIR: stateDir,
      FLOE_TOOLBOX: defaultToolbox(),
      FLOE_WORKER_NAME: name,
      FLOE_SLOTS: String(settings.slots ?? 1),
      FLOE_LOCK_DURATION_MS: String(settings.lockDurationMs ?? LOCK.lockDurationMs),
      FLOE_STOP_MARGIN_MS: String(settings.stopMarginMs ?? LOCK.stopMarginMs),
      FLOE_RUNTIMES: settings.runtimes ?? 'process',
      ...(settings.secretsDir === undefined ? {} : { FLOE_SECRETS_DIR: settings.secretsDir }),
      FLOE_PROCESS_NETWORK: settings.processNetwork ?? 'isolated',
      FLOE_NOTICE_SOURCE: 'ec2',
      FLOE_NOTICE_POLL_MS: '200',
      FLOE_LOG_LEVEL: 'info',
      AWS_EC2_METADATA_SERVICE_ENDPOINT: metadataUrl,
    },
  });
}
