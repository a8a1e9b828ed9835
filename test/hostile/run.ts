/**
 * Tries all attacks, in one runtime after the other: several at once, on two workers that are replaced in turn, so that
 * jobs move while they run, beside honest jobs. What is wrong is collected; nothing stops the run but the signal.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { type Attack, attempt } from './attack.ts';
import { Breach, messageOf } from './breach.ts';
import { tryOnBucket } from './bucketLane.ts';
import type { BucketAttack } from './cases/bucket.ts';
import { secretsInCommon } from './evidence.ts';
import { type HonestCount, HonestWork } from './honest.ts';
import { type Weight, weigh } from './measures.ts';
import type { Summary, Tried } from './report.ts';
import { type RuntimeName, Stage } from './stage.ts';
import type { Worker } from './worker.ts';

const WORKERS = 2;
const SLOTS = 5;
const ATTACKS_AT_ONCE = 4;
const REPLACE_EVERY_MS = 20_000;
/** Between moves that are made only because no honest job has been moved yet. */
const LAST_PAUSE_MS = 8000;
const DRAIN_WITHIN_MS = 120_000;

export interface RunOptions {
  readonly runtimes: readonly RuntimeName[];
  readonly attacks: readonly Attack[];
  /** Tried beside the others, on a worker of their own. */
  readonly bucketAttacks: readonly BucketAttack[];
  readonly signal: AbortSignal;
  /** Told of each attack when it has ended. */
  readonly onTried?: (tried: Tried) => void;
}

/** Rejects only when the stage cannot be set, or with the signal's reason. */
export async function runHostile({ runtimes, attacks, bucketAttacks, signal, onTried }: RunOptions): Promise<Summary> {
  const startedAt = performance.now();
  await using stage = await Stage.open(runtimes, signal);
  const run = new HostileRun(stage, onTried ?? (() => undefined));
  const honest: Summary['honest'] = {};
  const everything = async () => {
    for (const runtime of runtimes) {
      const here = attacks.filter((attack) => attack.runtimes?.includes(runtime) ?? true);
      Object.assign(honest, { [runtime]: await run.inRuntime(runtime, here, bucketAttacks) });
    }
    await run.lookAround('the last attack');
    const secrets = await secretsInCommon(stage, run.owners);
    run.breaches.push(...secrets.map((secret) => `a secret is where it can be read: ${secret}`));
  };
  // Ctrl-C reaches Redis, too: whoever waits for it now waits for ever.
  await Promise.race([everything(), aborted(signal)]);
  const { tried, breaches } = run;
  return { tried, breaches, honest, weights: await weighAll(stage), tookMs: performance.now() - startedAt };
}

/** Rejects with the signal's reason. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

class HostileRun {
  readonly tried: Tried[] = [];
  readonly breaches: string[] = [];
  /** Jobs that hold secrets themselves. */
  readonly owners: string[] = [];
  readonly #stage: Stage;
  readonly #onTried: (tried: Tried) => void;
  readonly #known = new Set<string>();
  readonly #trying = new Set<string>();

  constructor(stage: Stage, onTried: (tried: Tried) => void) {
    this.#stage = stage;
    this.#onTried = onTried;
  }

  async inRuntime(
    runtime: RuntimeName,
    attacks: readonly Attack[],
    bucketAttacks: readonly BucketAttack[],
  ): Promise<HonestCount> {
    const workers: Worker[] = [];
    for (let number = 1; number <= WORKERS; number++) {
      workers.push(await this.#stage.startWorker(`${runtime}-${number}`, runtime, { pool: runtime, slots: SLOTS }));
    }
    const honest = new HonestWork(this.#stage, runtime);
    await honest.start();
    this.owners.push(honest.secretJob);
    const over = new AbortController();
    const replacing = this.#replaceInTurn(workers, honest, over.signal).catch((error: unknown) => {
      this.breaches.push(`the workers of ${runtime} cannot be replaced: ${messageOf(error)}`);
    });
    const atOnce = pLimit(ATTACKS_AT_ONCE);
    try {
      const onBucket = this.#tryOnBucket(runtime, bucketAttacks);
      await Promise.all(attacks.map((attack) => atOnce(() => this.#try(runtime, attack))));
      await onBucket;
    } finally {
      over.abort();
      await replacing;
    }
    await honest.finish();
    this.breaches.push(...honest.failures.map((failure) => `${runtime}: ${failure}`));
    for (const worker of workers) await this.#stage.drain(worker, DRAIN_WITHIN_MS);
    await this.lookAround(`the last attack on ${runtime}`);
    return honest.count;
  }

  /** Never rejects. */
  async #tryOnBucket(runtime: RuntimeName, attacks: readonly BucketAttack[]): Promise<void> {
    try {
      for (const tried of await tryOnBucket(this.#stage, runtime, attacks)) {
        this.tried.push(tried);
        this.#onTried(tried);
      }
    } catch (error) {
      if (!this.#stage.parts.signal.aborted)
        this.breaches.push(`the bucket of ${runtime} could not be attacked: ${messageOf(error)}`);
    }
  }

  async #try(runtime: RuntimeName, attack: Attack): Promise<void> {
    this.#stage.parts.signal.throwIfAborted();
    const from = performance.now();
    this.#trying.add(attack.name);
    let ending = '';
    let breach: string | null = null;
    try {
      ending = await attempt(this.#stage, runtime, attack);
    } catch (error) {
      breach = error instanceof Breach ? error.message : `it could not be tried: ${messageOf(error)}`;
    }
    this.#trying.delete(attack.name);
    const tried = { name: attack.name, runtime, ending, breach, tookMs: performance.now() - from };
    this.tried.push(tried);
    this.#onTried(tried);
    await this.lookAround(attack.name);
  }

  /** Whether anything new has been reached, changed or lost. */
  async lookAround(after: string): Promise<void> {
    for (const breach of [...(await this.#stage.parts.canaries.breaches()), ...this.#stage.losses]) {
      if (this.#known.has(breach)) continue;
      this.#known.add(breach);
      const others = this.#trying.size === 0 ? '' : `, while ${[...this.#trying].join(', ')} went on`;
      this.breaches.push(`${breach} (seen after ${after}${others})`);
    }
  }

  /** Goes on until the attacks are over and an honest job has been moved. One that is gone is replaced, too. */
  async #replaceInTurn(workers: Worker[], honest: HonestWork, over: AbortSignal): Promise<void> {
    const { signal } = this.#stage.parts;
    for (let turn = 0; !signal.aborted; turn++) {
      const pause = over.aborted ? signal : AbortSignal.any([signal, over]);
      const pauseMs = over.aborted ? LAST_PAUSE_MS : REPLACE_EVERY_MS;
      await delay(pauseMs, undefined, { signal: pause }).catch(() => undefined); // there is something to look at
      if (over.aborted && honest.count.moved > 0) return;
      const at = turn % workers.length;
      const worker = workers[at];
      if (worker !== undefined && !signal.aborted) workers[at] = await this.#stage.replace(worker, DRAIN_WITHIN_MS);
    }
  }
}

async function weighAll(stage: Stage): Promise<Weight[]> {
  const files = new Map(stage.workers.map((worker) => [worker.plan.name, worker.delaysFile]));
  const weights = await Promise.all([...files].map(([name, file]) => weigh(name, file, stage.parts.idle.file)));
  return weights.filter((weight) => weight !== null);
}
