import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { redisKeys, sendRequest } from '../jobs/index.ts';
import type { Store } from '../store/store.ts';
import { processesNaming } from '../test/support/processes.ts';
import { Stack } from './testing/stack.ts';

let stack: Stack;
beforeEach(async () => {
  stack = await Stack.open();
});
afterEach(() => stack[Symbol.asyncDispose]());

/** The self-verifying job ends with this line only if no byte of its memory and files was ever wrong. */
const DONE = /\ndone [0-9a-f]{16}\n$/;
const DRAIN = { kind: 'notice', source: 'test', deadlineAt: null } as const;

describe('a job on one worker', () => {
  test('succeeds: its output, logs and result are there', async () => {
    await stack.worker('one');
    const command = ['sh', '-c', 'echo hello; echo oh >&2; echo kept > file'];
    const id = await stack.submit({ command, outputs: ['file', 'no-such'] });
    const { result } = await stack.until(id, { state: 'succeeded' });
    expect(result).toMatchObject({ end: { exitCode: 0, signal: null }, outputs: { files: 1, unmatched: ['no-such'] } });
    expect(await stack.keptLog(id)).toBe('hello\n');
    expect(String(await stack.store.get(result?.logs?.stderr.key ?? ''))).toBe('oh\n');
    expect(await stack.log(id)).toBe('hello\n');
    expect(await stack.eventTypes(id)).toEqual(['submitted', 'started', 'succeeded']);
    await expect.poll(() => stack.queue().getJobState(id)).toBe('completed');
  });

  test.for([
    ['an exit code', 'exit 7', { exitCode: 7, signal: null }],
    ['a signal', 'kill -9 $$', { exitCode: null, signal: 9 }],
  ] as const)('fails with %s of its own', async ([, script, end]) => {
    await stack.worker('one');
    const id = await stack.submit({ command: ['sh', '-c', script] });
    const { result, failures } = await stack.until(id, { state: 'failed' });
    expect(result).toMatchObject({ outcome: 'failed', end, reason: null });
    expect(failures).toBe(1);
    await expect.poll(() => stack.queue().getJobState(id)).toBe('failed');
  });

  test('fails by itself, and is told why, when it takes more memory than its limit', async () => {
    await stack.worker('one');
    const command = ['sh', '-c', 'exec tail /dev/zero'];
    const id = await stack.submit({ command, resources: { memoryBytes: '48MiB' }, attempts: 2, backoffMs: 50 });
    const record = await stack.until(id, { state: 'failed' });
    const message = 'The job used more memory than its limit of 48 MiB.';
    expect(record).toMatchObject({ failures: 2, crashes: 0 });
    expect(record.result).toMatchObject({ end: { signal: 9 }, reason: { code: 'memoryExceeded', message } });
  });

  test('that fails by itself is started again from the beginning as often as its attempts allow', async () => {
    await stack.worker('one');
    const id = await stack.submit({ command: ['sh', '-c', 'ls; touch seen; exit 1'], attempts: 3, backoffMs: 50 });
    const record = await stack.until(id, { state: 'failed' });
    expect(record).toMatchObject({ failures: 3, crashes: 0 });
    expect(await stack.keptLog(id)).toBe(''); // no attempt saw the file of the one before
    const types = await stack.eventTypes(id);
    expect(types.filter((type) => type === 'attemptFailed')).toHaveLength(2);
  });

  test('has no attempt more than that when a worker dies before the queue has heard of a failure', async () => {
    const id = await stack.submit({ command: ['false'], attempts: 2, backoffMs: 50 });
    await stack.redis.hset(redisKeys.record(id), { failures: 1 });
    await stack.worker('one');
    expect(await stack.until(id, { state: 'failed' })).toMatchObject({ failures: 2 });
  });

  test('that runs too long is ended and says so', async () => {
    await stack.worker('one');
    const id = await stack.submit({ command: ['sh', '-c', 'echo here; sleep 60'], timeoutMs: 500, attempts: 3 });
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result).toMatchObject({ end: null, reason: { code: 'timedOut' } });
    expect(await stack.keptLog(id)).toBe('here\n');
  });

  test.for([
    ['has succeeded', 'exit 0', 0, 'succeeded'],
    ['has failed', 'exit 3', 0, 'failed'],
    ['runs too long', 'sleep 1000', 3000, 'failed'],
  ] as const)('that %s has nothing running any more when its files are read', async ([, ending, timeoutMs, state]) => {
    const mark = `left-by-${randomUUID()}`;
    const runningAtRead: number[] = [];
    const putStream: Store['putStream'] = async (...arguments_) => {
      runningAtRead.push((await processesNaming(mark)).length);
      return stack.store.putStream(...arguments_);
    };
    const store = new Proxy(stack.store, {
      get: (target, name) => {
        const value = name === 'putStream' ? putStream : Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    await stack.worker('one', { store });
    const leftOver = 'trap "" TERM HUP; echo > up; while :; do sleep 0.05; done';
    const script = `setsid sh -c '${leftOver}' & while [ ! -e up ]; do sleep 0.02; done; ${ending}`;
    const id = await stack.submit({ command: ['sh', '-c', script], env: { MARK: mark }, timeoutMs });
    const { result } = await stack.until(id, { state });
    expect(result?.outputs?.files).toBe(1);
    expect(runningAtRead).toEqual([0, 0, 0]);
  });

  test('fails and says so when its outputs are nested too deeply to be read', async () => {
    await stack.worker('one');
    const script = 'print "here\\n"; (mkdir "nested" and chdir "nested") or die $! for 1..3000';
    const id = await stack.submit({ command: ['perl', '-e', script] });
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result).toMatchObject({ end: { exitCode: 0 }, outputs: null, reason: { code: 'outputsUnreadable' } });
    expect(await stack.keptLog(id)).toBe('here\n');
  });

  test('is asked politely when it is cancelled', async () => {
    await stack.worker('one');
    const script = 'trap "echo bye; exit 0" TERM; echo here; while :; do sleep 0.05; done';
    const id = await stack.submit({ command: ['sh', '-c', script] });
    await expect.poll(() => stack.log(id)).toBe('here\n');
    await sendRequest(stack.redis, { type: 'cancel', jobId: id });
    const { result } = await stack.until(id, { state: 'cancelled' });
    expect(result).toMatchObject({ outcome: 'cancelled', end: null });
    expect(await stack.keptLog(id)).toBe('here\nbye\n');
  });

  test('that was cancelled before it was taken does not run', async () => {
    const id = await stack.submit({ command: ['true'] });
    await sendRequest(stack.redis, { type: 'cancel', jobId: id });
    await stack.worker('one');
    await stack.until(id, { state: 'cancelled' });
    expect(await stack.eventTypes(id)).toEqual(['submitted', 'cancelled']);
  });

  test('of which nothing can be understood fails with the field and the value', async () => {
    const id = await stack.submit({ command: ['true'] });
    const job = await stack.queue().getJob(id);
    await job?.updateData({ ...job.data, spec: { ...job.data.spec, command: [] } });
    await stack.worker('one');
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result?.reason).toMatchObject({ code: 'invalidJob', message: expect.stringContaining('spec.command') });
  });

  test('whose program is not there fails as a shell would have it', async () => {
    await stack.worker('one');
    const id = await stack.submit({ command: ['/no/such/program'] });
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result?.end).toEqual({ exitCode: 127, signal: null });
  });
});

describe('checkpoints', () => {
  test('are taken periodically, and when asked for; the program runs on', async () => {
    await stack.worker('one');
    const id = await stack.submitMemory(150, 30, { checkpoint: { everyMs: 1500 } });
    await expect.poll(() => stack.eventTypes(id), { timeout: 30_000 }).toContain('checkpointed');
    const before = await stack.record(id);
    expect(before.checkpoint).not.toBeNull();
    await sendRequest(stack.redis, { type: 'checkpoint', jobId: id });
    await expect.poll(async () => (await stack.record(id)).checkpoint, { timeout: 30_000 }).not.toBe(before.checkpoint);
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    expect(await stack.keptLog(id)).toMatch(DONE);
  });

  test('at a hint cost nothing but the pause', async () => {
    const one = await stack.worker('one');
    const id = await stack.submitMemory(80, 30);
    await stack.untilSteps(id, 5);
    one.notify({ kind: 'hint', source: 'test', deadlineAt: null });
    await stack.until(id, { state: 'succeeded' });
    const [run] = await stack.runs(id);
    expect(run).toMatchObject({ worker: 'one', end: 'finished', checkpoints: 1 });
  });
});

describe('a move', () => {
  test('three times over: every line once, every byte right, no attempt counted', async () => {
    const id = await stack.submitMemory(400, 30, { attempts: 2 });
    for (const name of ['one', 'two', 'three']) {
      const worker = await stack.worker(name);
      await stack.untilSteps(id, 5);
      worker.notify(DRAIN);
      await worker.ended;
      expect(await stack.record(id)).toMatchObject({
        state: 'frozen',
        crashes: 0,
        failures: 0,
        lostMs: 0,
        worker: null,
      });
    }
    await stack.worker('four');
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    const runs = await stack.runs(id);
    expect(runs.map(({ worker, end }) => `${worker} ${end}`)).toEqual([
      'one frozen',
      'two frozen',
      'three frozen',
      'four finished',
    ]);
    expect((await stack.queue().getJob(id))?.attemptsMade).toBe(1);
    const log = await stack.keptLog(id);
    expect(log).toMatch(DONE);
    const steps = log.split('\n').flatMap((line) => line.match(/^step (\d+) /)?.[1] ?? []);
    expect(steps).toEqual(Array.from({ length: steps.length }, (_, at) => String(Number(steps[0]) + at)));
    expect(steps.length).toBeGreaterThanOrEqual(400);
    expect(await stack.log(id)).toBe(log);
  });

  test('puts the job before all that wait, also before those of a higher priority', async () => {
    const one = await stack.worker('one');
    const id = await stack.submitMemory(100, 30);
    await stack.untilSteps(id, 3);
    const equal = await stack.submit({ command: ['true'] });
    const higher = await stack.submit({ command: ['true'], priority: 1000 });
    one.notify(DRAIN);
    await one.ended;
    await stack.worker('two');
    for (const each of [id, equal, higher]) await stack.until(each, { state: 'succeeded' });
    const started = async (each: string) => (await stack.runs(each)).at(-1)?.startedAt ?? 0;
    expect(await started(id)).toBeLessThan(await started(higher));
    expect(await started(higher)).toBeLessThanOrEqual(await started(equal));
  });

  test('wakes a worker that was idle, and an attempt that fails after it waits its turn', async () => {
    const one = await stack.worker('one');
    const id = await stack.submit({ command: ['sh', '-c', 'sleep 3; exit 1'], attempts: 2, backoffMs: 0 });
    await expect.poll(async () => (await stack.runs(id)).length).toBe(1);
    await stack.worker('two');
    one.notify(DRAIN);
    await expect.poll(async () => (await stack.runs(id)).length, { timeout: 30_000 }).toBe(2);
    const later = await stack.submit({ command: ['true'], priority: 5 });
    await stack.until(id, { state: 'failed', failures: 2 });
    const [laterRun] = await stack.runs(later);
    expect(laterRun?.startedAt).toBeLessThan((await stack.runs(id)).at(-1)?.startedAt ?? 0);
  });

  test('by request drains the worker, which leaves the fleet', async () => {
    const one = await stack.worker('one');
    const id = await stack.submitMemory(60, 30);
    await stack.untilSteps(id, 3);
    await sendRequest(stack.redis, { type: 'drain', worker: 'one' });
    await one.ended;
    expect((await stack.record(id)).state).toBe('frozen');
    expect(await stack.redis.exists('{floe}:worker:one')).toBe(0);
  });
});

test('several pools share the slots: no job is held that cannot run', async () => {
  const ids = await Promise.all(
    ['red', 'blue'].flatMap((pool) => [1, 2, 3].map(() => stack.submit({ command: ['sleep', '0.2'], pool }))),
  );
  const running: number[] = [];
  const watch = setInterval(async () => {
    const records = await Promise.all(ids.map((id) => stack.record(id)));
    running.push(records.filter(({ state }) => state === 'running').length);
  }, 20);
  await stack.worker('one', { pools: ['red', 'blue'], slots: 2 });
  for (const id of ids) await stack.until(id, { state: 'succeeded' });
  clearInterval(watch);
  expect(Math.max(...running)).toBe(2);
});
