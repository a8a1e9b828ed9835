/**
 * The attacks on the bucket, all at once, on a worker of their own that encrypts: their jobs are frozen together, then the
 * attacker comes, and then the worker comes back.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { storeKeys } from '../../jobs/index.ts';
import { logOf, untilOver } from './attack.ts';
import { messageOf, require } from './breach.ts';
import type { Bucket, BucketAttack, Target } from './cases/bucket.ts';
import { floe } from './cli.ts';
import type { Tried } from './report.ts';
import { BASE_IMAGE, type RuntimeName, type Stage } from './stage.ts';

/** Some 90 s: longer than it takes to have all of them running and frozen on a busy machine. */
const STEPS = 800;
const DRAIN_WITHIN_MS = 120_000;
const END_WITHIN_MS = 150_000;
const LOOK_MS = 200;

interface Attempt extends Target {
  readonly attack: BucketAttack;
  readonly from: number;
}

/** Resolves to one line of the report for each. Rejects where the lane itself cannot go on. */
export async function tryOnBucket(
  stage: Stage,
  runtime: RuntimeName,
  attacks: readonly BucketAttack[],
): Promise<Tried[]> {
  if (attacks.length === 0) return [];
  const lane = new BucketLane(stage, runtime);
  const worker = await lane.startWorker(attacks.length + 1);
  const otherId = await lane.submit('other');
  const frozen = await lane.begin(
    attacks.filter(({ when }) => when === 'frozen'),
    otherId,
  );
  await lane.checkpoint([otherId, ...frozen.map(({ id }) => id)]);
  await stage.drain(worker, DRAIN_WITHIN_MS);
  const later = await lane.begin(
    attacks.filter(({ when }) => when !== 'frozen'),
    otherId,
  );
  for (const each of [...frozen, ...later]) {
    if (each.attack.when !== 'ended') await lane.strike(each);
  }
  const second = await lane.startWorker(attacks.length + 1);
  const other = lane.watchOther(otherId);
  const tried = await Promise.all([...frozen, ...later].map((each) => lane.judge(each)));
  await stage.drain(second, DRAIN_WITHIN_MS);
  return [...tried, await other];
}

class BucketLane {
  readonly #stage: Stage;
  readonly #runtime: RuntimeName;
  readonly #pool: string;

  constructor(stage: Stage, runtime: RuntimeName) {
    this.#stage = stage;
    this.#runtime = runtime;
    this.#pool = `${runtime}-sealed`;
  }

  startWorker(slots: number) {
    return this.#stage.startWorker(`${this.#runtime}-sealed`, this.#runtime, {
      pool: this.#pool,
      slots,
      isSealed: true,
    });
  }

  /** A program that says who it is at every step. */
  async submit(name: string): Promise<string> {
    const workspace = join(this.#stage.parts.directory, 'bucket', crypto.randomUUID());
    await mkdir(workspace, { recursive: true });
    const script = `i=0; while [ $i -lt ${STEPS} ]; do i=$((i+1)); echo "${name} $i"; sleep 0.1; done; echo end > output`;
    await writeFile(join(workspace, 'run.sh'), script, { mode: 0o755 });
    const image = this.#runtime === 'docker' ? { image: BASE_IMAGE } : {};
    const command = ['/bin/sh', './run.sh'];
    const checkpoint = { everyMs: 0, ifUnusable: 'fail', keepAtEnd: true } as const;
    return this.#stage.parts.floe.submit(
      { command, name, pool: this.#pool, crashBudget: 2, checkpoint, ...image },
      { workspace },
    );
  }

  async begin(attacks: readonly BucketAttack[], otherId: string): Promise<Attempt[]> {
    const from = performance.now();
    const submitted = attacks.map(async (attack) => {
      const id = await this.submit(attack.name);
      return { attack, id, otherId, checkpoints: [], from };
    });
    return Promise.all(submitted);
  }

  /** One of each while it runs; the drain that follows takes the second. */
  async checkpoint(ids: readonly string[]): Promise<void> {
    const { parts } = this.#stage;
    const { signal } = parts;
    const once = async (id: string) => {
      while ((await this.#stdout(id)) === '') await delay(LOOK_MS, undefined, { signal });
      await parts.floe.checkpoint(id, { signal });
    };
    await Promise.all(ids.map(once));
  }

  /** The attacker comes. What cannot be attacked, because it is not there, is no breach, and shows in the report. */
  async strike(attempt: Attempt): Promise<void> {
    const { store, directory, canaries } = this.#stage.parts;
    const checkpoints: string[] = [];
    for await (const { key } of store.list(`${storeKeys.checkpoints(attempt.id)}manifests/`)) {
      checkpoints.push(key.slice(key.lastIndexOf('/') + 1, -'.json'.length));
    }
    const bucket: Bucket = { path: (key) => join(directory, 'store', key), secretFiles: canaries.files.paths };
    await attempt.attack.act(bucket, { id: attempt.id, otherId: attempt.otherId, checkpoints });
  }

  async judge(attempt: Attempt): Promise<Tried> {
    const { attack, id, from } = attempt;
    const line = { name: attack.name, runtime: this.#runtime };
    let ending = '';
    try {
      ending = await untilOver(this.#stage, id, END_WITHIN_MS);
      require(attack.ends.test(ending), `it ended with: ${ending}`);
      if (ending === 'succeeded') await this.#requireRight(id, attack.name);
      else require(!(await this.#stdout(id)).includes('OWNED'), 'a program of the attacker ran');
      if (attack.when === 'ended') await this.#fetchForged(attempt);
      return { ...line, ending, breach: null, tookMs: performance.now() - from };
    } catch (error) {
      return { ...line, ending, breach: messageOf(error), tookMs: performance.now() - from };
    }
  }

  /** The job whose checkpoints were copied has noticed nothing. */
  async watchOther(id: string): Promise<Tried> {
    const untouched: BucketAttack = {
      name: 'bucket/the-job-beside-them',
      wants: 'nothing: it is honest',
      when: 'frozen',
      act: async () => undefined,
      ends: /^succeeded/,
    };
    const tried = await this.judge({
      attack: { ...untouched, name: 'other' },
      id,
      otherId: id,
      checkpoints: [],
      from: performance.now(),
    });
    return { ...tried, name: untouched.name };
  }

  async #requireRight(id: string, name: string): Promise<void> {
    const expected = Array.from({ length: STEPS }, (_, step) => `${name} ${step + 1}\n`).join('');
    const stdout = await this.#stdout(id);
    require(stdout === expected, `it succeeded, and wrote ${JSON.stringify(stdout.slice(0, 100))} …`);
  }

  /** Refused, or unpacked without harm: the canaries tell. */
  async #fetchForged(attempt: Attempt): Promise<void> {
    await this.strike(attempt);
    const target = join(this.#stage.parts.directory, 'bucket', `fetched-${attempt.id}`);
    await floe(this.#stage, 'fetch', attempt.id, target);
    await rm(target, { recursive: true, force: true });
  }

  async #stdout(id: string): Promise<string> {
    return logOf(this.#stage, id, 'stdout');
  }
}
