/** A worker process of the run, as users have it. It may end when it was told to drain, and at no other time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { defaultToolbox } from '../support/toolbox.ts';
import { LOOP_DELAY } from './measures.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');
const DISK_BYTES_OF_JOB = 2 * 2 ** 30;
const FILES_OF_JOB = 300_000;
const READY_WITHIN_MS = 60_000;

export interface WorkerPlan {
  readonly name: string;
  readonly pool: string;
  readonly runtime: string;
  readonly slots: number;
  readonly stateDir: string;
  /** What each worker of the run has in its environment besides. */
  readonly env: Readonly<Record<string, string>>;
}

export class Worker implements AsyncDisposable {
  readonly plan: WorkerPlan;
  readonly pid: number;
  /** Resolves when it is gone, to how. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  #mayEnd = false;

  private constructor(plan: WorkerPlan, child: ChildProcess) {
    this.plan = plan;
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.ended = once(child, 'exit').then(([code, signal]) => (signal === null ? `exit ${code}` : String(signal)));
  }

  /** Resolves when it is ready. `hold`: called with its process id as soon as it has one. */
  static async start(plan: WorkerPlan, hold: (pid: number) => Promise<void>): Promise<Worker> {
    await using log = await open(logFile(plan), 'a', 0o600);
    const before = (await log.stat()).size;
    const env = { ...process.env, ...plan.env, ...environmentOf(plan) };
    const stdio = ['ignore', log.fd, log.fd] as const;
    // It ends with this process, however that ends.
    const command = ['--pdeathsig', 'KILL', process.execPath, '--import', LOOP_DELAY, FLOE, 'worker'];
    const worker = new Worker(plan, spawn('setpriv', command, { cwd: plan.stateDir, stdio: [...stdio], env }));
    try {
      await hold(worker.pid);
      await worker.#ready(before);
      return worker;
    } catch (error) {
      await worker[Symbol.asyncDispose]();
      throw error;
    }
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Whether somebody told it to end. */
  get mayEnd(): boolean {
    return this.#mayEnd;
  }

  get logFile(): string {
    return logFile(this.plan);
  }

  get delaysFile(): string {
    return delaysFile(this.plan);
  }

  /** From now on its end is no breach. */
  expectEnd(): void {
    this.#mayEnd = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#mayEnd = true;
    if (this.isRunning) this.#child.kill('SIGKILL');
    await this.ended;
  }

  async #ready(fromByte: number): Promise<void> {
    const until = Date.now() + READY_WITHIN_MS;
    for (;;) {
      const said = (await readFile(this.logFile)).subarray(fromByte).toString();
      if (said.includes('"msg":"ready"')) return;
      if (!this.isRunning || Date.now() > until) throw new Error(`${this.plan.name} does not get ready: ${said}`);
      await delay(50);
    }
  }
}

function environmentOf(plan: WorkerPlan): Record<string, string> {
  return {
    FLOE_STATE_DIR: plan.stateDir,
    FLOE_TOOLBOX: defaultToolbox(),
    FLOE_WORKER_NAME: plan.name,
    FLOE_POOLS: plan.pool,
    FLOE_RUNTIMES: plan.runtime,
    FLOE_SLOTS: String(plan.slots),
    // As operators do: so much for each slot is on the disk.
    FLOE_DEFAULT_DISK_BYTES: String(DISK_BYTES_OF_JOB),
    FLOE_MAX_FILES: String(FILES_OF_JOB),
    FLOE_NOTICE_SOURCE: 'none',
    FLOE_LOG_LEVEL: 'info',
    FLOE_HOSTILE_LOOP_DELAYS: delaysFile(plan),
  };
}

function logFile(plan: WorkerPlan): string {
  return `${plan.stateDir}.log`;
}

function delaysFile(plan: WorkerPlan): string {
  return `${plan.stateDir}.delays`;
}
