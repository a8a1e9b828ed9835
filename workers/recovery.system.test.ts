/** What goes wrong around a job, for real: workers that die or hang, a Redis that restarts, a store that is away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Run, Runtime } from '../freezer/index.ts';
import { type JobResult, sendRequest, storeKeys } from '../jobs/index.ts';
import { defaultToolbox } from '../test/support/toolbox.ts';
import { Stack } from './testing/stack.ts';

const DONE = /\ndone [0-9a-f]{16}\n$/;
const DRAIN = { kind: 'notice', source: 'test', deadlineAt: null } as const;
const LOCK = { lockDurationMs: 3000, stopMarginMs: 1000 };

let stack: Stack;
const processes: ChildProcess[] = [];
beforeEach(async () => {
  stack = await Stack.open();
});
afterEach(async () => {
  for (const process of processes.splice(0)) {
    if (process.exitCode !== null || process.signalCode !== null) continue;
    process.kill('SIGKILL');
    await once(process, 'exit');
  }
  await stack[Symbol.asyncDispose]();
});

/** `floe worker` as a process of its own. */
function spawnWorker(name: string): ChildProcess {
  const env = {
    ...process.env,
    FLOE_REDIS_URL: stack.server.url,
    FLOE_STORE: stack.storeUrl,
    FLOE_STATE_DIR: join(stack.directory, 'state'),
    FLOE_TOOLBOX: defaultToolbox(),
    FLOE_WORKER_NAME: name,
    FLOE_RUNTIMES: 'process',
    FLOE_SLOTS: '1',
    FLOE_LOCK_DURATION_MS: String(LOCK.lockDurationMs),
    FLOE_STOP_MARGIN_MS: String(LOCK.stopMarginMs),
    FLOE_NOTICE_SOURCE: 'none',
    FLOE_GRACE_MS: '30000',
  };
  const command = [join(import.meta.dirname, '../bin/floe.ts'), 'worker'];
  const spawned = spawn(process.execPath, command, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  processes.push(spawned);
  return spawned;
}

const firstCheckpoint = (id: string) =>
  expect.poll(() => stack.eventTypes(id), { timeout: 60_000 }).toContain('checkpointed');

describe('a worker process', () => {
  test('that is killed costs the work since the last checkpoint, and nothing else', async () => {
    const one = spawnWorker('one');
    const id = await stack.submitMemory(300, 30, { checkpoint: { everyMs: 1500 }, attempts: 2 });
    await firstCheckpoint(id);
    await stack.untilSteps(id, 3);
    one.kill('SIGKILL');
    await stack.worker('two', LOCK);
    const record = await stack.until(id, { state: 'succeeded', crashes: 1, failures: 0 });
    expect(await stack.keptLog(id)).toMatch(DONE);
    const runs = await stack.runs(id);
    expect(runs.map(({ worker, end }) => `${worker} ${end}`)).toEqual(['one crashed', 'two finished']);
    expect(runs[1]?.thawedFrom).toMatch(/^00000001-/);
    expect(runs[0]?.lostMs).toBe(record.lostMs);
    expect((await stack.queue().getJob(id))?.attemptsMade).toBe(1);
  });

  test('that hangs loses its job; awake again it writes nothing about it', async () => {
    const one = spawnWorker('one');
    const id = await stack.submitMemory(300, 30, { checkpoint: { everyMs: 1500 } });
    await firstCheckpoint(id);
    one.kill('SIGSTOP');
    await stack.worker('two', LOCK);
    await expect.poll(async () => (await stack.record(id)).worker, { timeout: 30_000 }).toBe('two');
    await stack.until(id, { state: 'running' });
    one.kill('SIGCONT');
    const { result } = await stack.until(id, { state: 'succeeded', crashes: 1 });
    expect(result).toMatchObject({ worker: 'two', epoch: 2 });
    expect(await stack.keptLog(id)).toMatch(DONE);
    expect((await stack.runs(id)).map(({ worker, end }) => `${worker} ${end}`)).toEqual([
      'one crashed',
      'two finished',
    ]);
  });

  test('freezes its job and ends at SIGTERM', async () => {
    const one = spawnWorker('one');
    const id = await stack.submitMemory(300, 30);
    await stack.untilSteps(id, 3);
    one.kill('SIGTERM');
    expect(await once(one, 'exit')).toEqual([0, null]);
    expect(await stack.record(id)).toMatchObject({ state: 'frozen', crashes: 0, lostMs: 0 });
  });

  test('ends at once at a second SIGINT, even with a job that cannot be frozen', async () => {
    const one = spawnWorker('one');
    const id = await stack.submitProgram('undumpable', ['600']);
    await expect.poll(() => stack.log(id), { timeout: 30_000 }).toContain('holding');
    one.kill('SIGINT');
    await expect.poll(() => stack.eventTypes(id), { timeout: 30_000 }).toContain('freezeFailed');
    one.kill('SIGINT');
    expect(await once(one, 'exit')).toEqual([0, null]);
    expect(await stack.eventTypes(id)).not.toContain('stopped');
  });

  test('that dies more often than the crash budget allows fails the job', async () => {
    const one = spawnWorker('one');
    const id = await stack.submitMemory(10_000, 30, { crashBudget: 0 });
    await stack.untilSteps(id, 3);
    one.kill('SIGKILL');
    await stack.worker('two', LOCK);
    const { result } = await stack.until(id, { state: 'failed', crashes: 1 });
    expect(result?.reason?.code).toBe('crashBudget');
    await expect.poll(() => stack.queue().getJobState(id)).toBe('failed');
  });
});

test('a result that the queue never heard of is reported, and the program does not run again', async () => {
  const id = await stack.submit({ command: ['false'] });
  const result: JobResult = {
    version: 1,
    jobId: id,
    outcome: 'succeeded',
    end: { exitCode: 0, signal: null },
    reason: null,
    epoch: 1,
    worker: 'died-then',
    finishedAt: new Date().toISOString(),
    outputs: null,
    logs: null,
  };
  await stack.store.create(storeKeys.result(id), Buffer.from(JSON.stringify(result)));
  await stack.worker('one');
  expect((await stack.until(id, { state: 'succeeded' })).result).toEqual(result);
  await expect.poll(() => stack.queue().getJobState(id)).toBe('completed');
  expect(await stack.runs(id)).toEqual([]);
});

test('a lock that is gone stops the run at once, and the job goes on elsewhere', async () => {
  await stack.worker('one', { lockDurationMs: 4000, stopMarginMs: 1000 });
  const id = await stack.submitMemory(200, 30, { checkpoint: { everyMs: 1000 } });
  await firstCheckpoint(id);
  await stack.redis.set(`{floe}:default:${id}:lock`, 'somebody-else', 'PX', 1500);
  const { result } = await stack.until(id, { state: 'succeeded', crashes: 1 });
  expect(result?.epoch).toBe(2);
  expect(await stack.keptLog(id)).toMatch(DONE);
});

test('Redis restarts: nothing is lost', async () => {
  await stack.worker('one');
  const id = await stack.submitMemory(150, 30);
  await stack.untilSteps(id, 3);
  await stack.server.restart('SIGKILL');
  await stack.until(id, { state: 'succeeded', crashes: 0 });
  expect((await stack.runs(id)).map(({ end }) => end)).toEqual(['finished']);
  expect(await stack.keptLog(id)).toMatch(DONE);
  expect(await stack.log(id)).toBe(await stack.keptLog(id));
  await expect.poll(() => stack.queue().getJobState(id)).toBe('completed');
});

describe('a store that takes nothing for a while', () => {
  let folder: string;
  beforeEach(async () => {
    folder = join(stack.directory, 'store');
    await mkdir(folder, { recursive: true });
    await execa('mount', ['-t', 'tmpfs', 'floe-test', folder]);
  });
  afterEach(() => execa('umount', ['--lazy', folder]));

  test('costs no work: there is no checkpoint, the program runs on, and its result waits', async () => {
    await stack.worker('one');
    const id = await stack.submitMemory(100, 30);
    await stack.untilSteps(id, 3);
    await execa('mount', ['-o', 'remount,ro', folder]);
    await sendRequest(stack.redis, { type: 'checkpoint', jobId: id });
    await expect.poll(() => stack.eventTypes(id), { timeout: 30_000 }).toContain('freezeFailed');
    await expect.poll(() => stack.log(id), { timeout: 30_000 }).toMatch(DONE);
    expect(await stack.record(id)).toMatchObject({ state: 'running', checkpoint: null, result: null });
    await execa('mount', ['-o', 'remount,rw', folder]);
    await stack.until(id, { state: 'succeeded', crashes: 0 });
    expect(await stack.keptLog(id)).toMatch(DONE);
  });
});

describe('a CPU that does not cover the checkpoint', () => {
  const poorer = (runtime: Runtime): Runtime => ({
    ...runtime,
    check: async () => ({ ...(await runtime.check()), cpuFeatures: [] }),
  });

  async function freeze(checkpoint: object): Promise<string> {
    const one = await stack.worker('one');
    const id = await stack.submitMemory(100, 30, { checkpoint });
    await stack.untilSteps(id, 3);
    one.notify(DRAIN);
    await one.ended;
    await stack.worker('two', { runtime: poorer });
    return id;
  }

  test('leaves the job to a worker that does', async () => {
    const id = await freeze({});
    await expect.poll(async () => (await stack.record(id)).epoch, { timeout: 30_000 }).toBeGreaterThan(1);
    await stack.until(id, { state: 'frozen' });
    await stack.worker('three');
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    expect((await stack.runs(id)).map(({ worker }) => worker)).toEqual(['one', 'three']);
  });

  test('leaves it at once to an idle one that does, however many look at it first', async () => {
    const one = await stack.worker('one');
    // Long enough for all the other workers to be there.
    const id = await stack.submitMemory(600, 30);
    await stack.untilSteps(id, 3);
    for (const name of ['two', 'three', 'four', 'five']) await stack.worker(name, { runtime: poorer });
    await stack.worker('six');
    one.notify(DRAIN);
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    expect((await stack.runs(id)).map(({ worker }) => worker)).toEqual(['one', 'six']);
    expect(await stack.queueEvents()).not.toContain('delayed');
  });

  test('starts it afresh when its patience is over and its policy says so', async () => {
    const id = await freeze({ patienceMs: 0, ifNoWorkerFits: 'afresh' });
    await stack.until(id, { state: 'succeeded' });
    expect((await stack.runs(id))[1]).toMatchObject({ worker: 'two', thawedFrom: null });
  });
});

test('a job that cannot be frozen says so before it has to be, until it can', async () => {
  let run: Run | undefined;
  const runtime = (real: Runtime): Runtime => ({
    ...real,
    start: async (options) => {
      run = await real.start(options);
      return run;
    },
  });
  await stack.worker('one', { runtime });
  const id = await stack.submitProgram('undumpable', ['60']);
  const { problem } = await stack.until(id, { problem: expect.stringContaining('secret memory'), state: 'running' });
  expect(problem).toMatch(/^The job cannot be frozen: undumpable \(process \d+\) has secret memory .*\. \S.*\.$/);
  expect(await stack.eventTypes(id)).toEqual(['submitted', 'started']);
  await sendRequest(stack.redis, { type: 'checkpoint', jobId: id });
  await expect.poll(() => stack.eventTypes(id), { timeout: 30_000 }).toContain('freezeFailed');
  await stack.until(id, { problem, state: 'running' });
  run?.signal(constants.signals.SIGUSR1);
  await expect.poll(() => stack.log(id), { timeout: 30_000 }).toContain('let go');
  await sendRequest(stack.redis, { type: 'checkpoint', jobId: id });
  await stack.until(id, { problem: null, checkpoint: expect.any(String), state: 'running' });
});

test('a job that cannot be frozen runs on, and at the deadline starts again elsewhere', async () => {
  const one = await stack.worker('one');
  const id = await stack.submitProgram('undumpable', ['60']);
  await expect.poll(() => stack.log(id), { timeout: 30_000 }).toContain('holding');
  one.notify({ kind: 'notice', source: 'test', deadlineAt: Date.now() + 5000 });
  await one.ended;
  expect(await stack.record(id)).toMatchObject({ state: 'queued', crashes: 0, failures: 0 });
  const events = await stack.events(id);
  expect(events.find(({ type }) => type === 'freezeFailed')).toMatchObject({
    code: 'cannotFreeze',
    message: expect.stringContaining('secret memory'),
  });
  expect(events.at(-1)).toMatchObject({ type: 'stopped' });
  expect((await stack.runs(id))[0]).toMatchObject({ end: 'stopped' });
  expect(await stack.queue().getJobState(id)).toBe('waiting');
});
