/**
 * Where a hostile run takes place: a Redis with a password, a store in a folder, workers of each runtime as processes, and
 * the canaries. Everything is removed at the end, whatever failed.
 */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { Floe } from '../../producers/index.ts';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { requireEngine } from '../support/engine.ts';
import { startRedis } from '../support/redis.ts';
import { Canaries } from './canaries.ts';
import { DashboardProcess } from './dashboardProcess.ts';
import { Images } from './images.ts';
import { plantJobSecrets } from './jobSecrets.ts';
import { removeLeftContainers } from './leftContainers.ts';
import { IdleProcess } from './measures.ts';
import { mountBoundedDisk, SafetyNet } from './safetyNet.ts';
import { Tokens } from './tokens.ts';
import { Worker, type WorkerPlan } from './worker.ts';

export type RuntimeName = 'process' | 'docker';

/** What honest jobs and scripts run in where there are images; the set-up step makes it. */
export const BASE_IMAGE = 'debian:trixie-slim';

interface Parts {
  readonly directory: string;
  readonly redisUrl: string;
  readonly redisPort: number;
  readonly storeUrl: string;
  /** The workers' own, with what the operator gives to jobs. */
  readonly secretsDirectory: string;
  readonly store: Store;
  readonly floe: Floe;
  readonly client: Redis;
  readonly tokens: Tokens;
  readonly canaries: Canaries;
  readonly images: Images;
  readonly idle: IdleProcess;
  /** Aborts when the run is to end at once. */
  readonly signal: AbortSignal;
}

export class Stage implements AsyncDisposable {
  readonly parts: Parts;
  /** Every worker that ever was, in the order of their starts. */
  readonly workers: Worker[] = [];
  /** What went wrong with workers, in words. */
  readonly losses: string[] = [];
  readonly #net: SafetyNet;
  readonly #stack: AsyncDisposableStack;
  readonly #secrets: Readonly<Record<string, string>>;
  readonly #key: string;
  #dashboard: Promise<DashboardProcess> | undefined;

  private constructor(parts: Parts, net: SafetyNet, stack: AsyncDisposableStack) {
    this.parts = parts;
    this.#net = net;
    this.#stack = stack;
    this.#key = parts.tokens.make("the workers' encryption key");
    this.#secrets = {
      AWS_ACCESS_KEY_ID: 'AKIAHOSTILE',
      AWS_SECRET_ACCESS_KEY: parts.tokens.make("a cloud's key in the workers' environment"),
      FLOE_DASHBOARD_PASSWORD: parts.tokens.make("the dashboard's password in the workers' environment"),
    };
  }

  static async open(runtimes: readonly RuntimeName[], signal: AbortSignal): Promise<Stage> {
    if (runtimes.includes('docker')) await requireEngine();
    await using stack = new AsyncDisposableStack();
    const tokens = new Tokens();
    const directory = await mkdtemp('/var/lib/floe-hostile-');
    stack.defer(() => rm(directory, { recursive: true, force: true }));
    await mountBoundedDisk(directory, stack);
    await chmod(directory, 0o700);
    const net = stack.use(await SafetyNet.make(directory.split('/').at(-1) ?? ''));
    const redis = stack.use(await startRedis({ password: tokens.make("Redis' password") }));
    const storeUrl = pathToFileURL(join(directory, 'store')).href;
    const store = stack.use(await openStore(storeUrl));
    await mkdir(join(directory, 'store'), { mode: 0o750 });
    const floe = stack.adopt(await Floe.open({ redisUrl: redis.url, store: storeUrl, stateDir: directory }), inTime);
    const client = stack.adopt(new Redis(redis.url, { maxRetriesPerRequest: null }), (each) => each.disconnect());
    client.on('error', () => undefined); // Ctrl-C ends Redis before this process
    const images = stack.use(new Images());
    const secretsDirectory = join(directory, 'secrets');
    await plantJobSecrets(secretsDirectory, runtimes, tokens);
    const folders = [directory, join(directory, 'store'), secretsDirectory];
    const canaries = stack.use(await Canaries.plant(tokens, folders));
    const idle = stack.use(new IdleProcess(directory));
    const place = { directory, secretsDirectory, storeUrl, redisUrl: redis.url, redisPort: redis.port };
    return new Stage({ ...place, store, floe, client, tokens, canaries, images, idle, signal }, net, stack.move());
  }

  /** `isSealed`: it encrypts. */
  async startWorker(name: string, runtime: RuntimeName, options: WorkerOptions): Promise<Worker> {
    const { directory, secretsDirectory } = this.parts;
    const stateDir = join(directory, name);
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const key: Record<string, string> = options.isSealed ? { FLOE_ENCRYPTION_KEY: this.#key } : {};
    const env = { ...this.#connections, FLOE_SECRETS_DIR: secretsDirectory, ...this.#secrets, ...key };
    return this.#start({ name, runtime, stateDir, env, pool: options.pool, slots: options.slots });
  }

  /** Started when it is first asked for. */
  dashboard(): Promise<DashboardProcess> {
    this.#dashboard ??= this.#startDashboard();
    return this.#dashboard;
  }

  /** Asks a worker to give its jobs back. Resolves when it has ended and another has taken its place. */
  async replace(worker: Worker, withinMs: number): Promise<Worker> {
    await this.drain(worker, withinMs);
    return this.#start(worker.plan);
  }

  /** Resolves when it has ended, or at the latest after that time: then it is killed, and told as a loss. */
  async drain(worker: Worker, withinMs: number): Promise<void> {
    const { floe, signal } = this.parts;
    if (worker.isRunning) {
      worker.expectEnd();
      await floe.drain(worker.plan.name);
      const late = delay(withinMs, 'late', { signal }).catch(() => 'interrupted');
      const end = await Promise.race([worker.ended, late]);
      if (end !== 'exit 0') this.losses.push(`${worker.plan.name} was asked to drain, and ended with: ${end}`);
    }
    await worker[Symbol.asyncDispose]();
  }

  get #connections(): Record<string, string> {
    const { redisUrl, storeUrl } = this.parts;
    return { FLOE_REDIS_URL: redisUrl, FLOE_STORE: storeUrl };
  }

  async #startDashboard(): Promise<DashboardProcess> {
    const { directory, tokens } = this.parts;
    const env = { ...this.#connections, FLOE_STATE_DIR: directory };
    return this.#stack.use(await DashboardProcess.start(env, tokens.make("the dashboard's password")));
  }

  /** One that ended has another in its place, so that the run can go on. */
  async #start(plan: WorkerPlan): Promise<Worker> {
    if (plan.runtime === 'docker') {
      this.#stack.defer(() => removeLeftContainers(`floe.state=${join(plan.stateDir, 'workers', plan.name)}`));
    }
    const worker = await Worker.start(plan, (pid) => this.#net.hold(pid));
    this.workers.push(worker);
    this.#stack.use(worker);
    void worker.ended.then((end) => {
      if (!worker.mayEnd) this.losses.push(`${plan.name} ended by itself: ${end}`);
    });
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Without Redis, which Ctrl-C may have ended, it would wait for ever. */
async function inTime(floe: Floe): Promise<void> {
  await Promise.race([floe[Symbol.asyncDispose](), delay(3000, undefined, { ref: false })]);
}

export interface WorkerOptions {
  readonly pool: string;
  readonly slots: number;
  readonly isSealed?: boolean;
}
