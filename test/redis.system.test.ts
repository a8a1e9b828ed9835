/** Redis goes away in the middle of a job, and comes back with what it had. (At once: workers/recovery.system.test.ts.) */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Cluster } from './support/cluster.ts';
import { stillRunning } from './support/processes.ts';
import { undisturbed } from './support/undisturbed.ts';

const WORDS = ['8', '200', 'threads', '--seed', '61'];

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.open();
});
afterEach(() => cluster[Symbol.asyncDispose]());

/** Longer than any test waits. */
const ENDLESS = ['8', '5000', 'threads', '--seed', '62'];

function submit(words = WORDS): Promise<string> {
  return cluster.submitProgram('memory', [...words, '--pace-ms', '30'], { checkpoint: { everyMs: 1000 }, attempts: 2 });
}

async function expectOneResult(id: string): Promise<void> {
  const ends = (await cluster.events(id)).filter(({ type }) => type === 'succeeded' || type === 'failed');
  expect(ends).toHaveLength(1);
  expect(await cluster.attemptsMade(id)).toBe(1);
  expect(await cluster.log(id)).toBe((await undisturbed(WORDS)).stdout);
}

test('for longer than a lock renewal: the job is not touched', async () => {
  const lock = { lockDurationMs: 12_000, stopMarginMs: 2000 };
  await cluster.worker('one', lock);
  await cluster.worker('two', lock);
  const id = await submit();
  await cluster.untilLines(id, 3);
  await cluster.redis.stop('SIGKILL');
  await delay(lock.lockDurationMs / 4 + 200); // a renewal falls into this time
  await cluster.redis.start();
  const { runs } = await cluster.until(id, { state: 'succeeded', crashes: 0, lostMs: 0 });
  expect(runs.map(({ end }) => end)).toEqual(['finished']);
  await expectOneResult(id);
});

test('for longer than the lock: the program is stopped, and goes on from its last checkpoint', async () => {
  const one = await cluster.worker('one');
  const id = await submit(ENDLESS);
  await cluster.untilEvent(id, 'checkpointed');
  const job = (await one.processes()).filter(({ command }) => command.includes('--seed'));
  expect(job).not.toEqual([]);
  await cluster.redis.stop('SIGKILL');
  await vi.waitFor(async () => expect(await stillRunning(job)).toEqual([]), { timeout: 30_000, interval: 50 });
  await cluster.redis.start();
  await cluster.untilEvent(id, 'thawed');
  await cluster.untilLines(id, 20);
  const { runs } = await cluster.until(id, { state: 'running', crashes: 1, failures: 0 });
  expect(runs.map(({ end }) => end)).toEqual(['crashed', null]);
  expect(runs[1]?.thawedFrom).toMatch(/^00000001-/);
  expect((await undisturbed(ENDLESS)).stdout.startsWith(await cluster.log(id))).toBe(true);
});

test('while a notice comes: the job is frozen and given back as soon as Redis is there', async () => {
  const one = await cluster.worker('one');
  const id = await submit();
  await cluster.untilLines(id, 3);
  await cluster.redis.stop('SIGKILL');
  const left = one.interrupt();
  await one.says('this machine goes away');
  await cluster.redis.start();
  await left;
  expect(await cluster.floe.get(id)).toMatchObject({ state: 'frozen', worker: null, lostMs: 0, crashes: 0 });
  await cluster.worker('two');
  await cluster.until(id, { state: 'succeeded', lostMs: 0, crashes: 0 });
  await expectOneResult(id);
});
