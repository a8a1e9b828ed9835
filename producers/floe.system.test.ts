import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { announceWorker, isDrainRequested, type JobEvent, OwnedRecord, openQueue, storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import { startRedis, type TestRedis } from '../test/support/redis.ts';
import { type StandInRun, startStandInWorker } from '../test/support/stand-in-worker.ts';
import { Floe } from './floe.ts';

let redis: TestRedis;
let folder: string;
let store: string;
let client: Redis;
let floe: Floe;

beforeAll(async () => {
  redis = await startRedis();
  client = new Redis(redis.url);
  client.on('error', () => undefined); // one test stops the server
});
afterAll(async () => {
  client.disconnect();
  await redis[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await client.flushall();
  folder = await mkdtemp(join(tmpdir(), 'floe-producer-'));
  store = pathToFileURL(join(folder, 'store')).href;
  floe = await Floe.open({ redisUrl: redis.url, store });
});
afterEach(async () => {
  await floe[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const work = (run: (run: StandInRun) => Promise<void>) => startStandInWorker({ redisUrl: redis.url, store, run });
const succeed = { outcome: 'succeeded', end: { exitCode: 0, signal: null } } as const;

async function makeWorkspace(): Promise<string> {
  const workspace = join(folder, 'workspace');
  await mkdir(workspace);
  await writeFile(join(workspace, 'input.txt'), 'precious');
  return workspace;
}

describe('submit', () => {
  it('uploads the workspace and queues the whole spec', async () => {
    const id = await floe.submit({ command: ['/bin/xz', '-9'], priority: 5 }, { workspace: await makeWorkspace() });
    expect(id).toMatch(/^default-[a-z2-9]{10}$/);
    expect(await floe.get(id)).toMatchObject({
      id,
      pool: 'default',
      name: 'xz',
      state: 'queued',
      epoch: 0,
      worker: null,
      spec: { command: ['/bin/xz', '-9'], priority: 5, attempts: 1, outputs: ['.'] },
      input: { key: storeKeys.input(id) },
      runs: [],
    });
    await using opened = await openStore(store);
    expect((await opened.get(storeKeys.input(id))).length).toBeGreaterThan(0);
    const queue = openQueue('default', client);
    expect(await queue.getPrioritizedCount()).toBe(1);
    await queue.close();
  });

  it('lets a larger priority go first, and equal ones in order', async () => {
    const ids = await floe.submitBulk([0, 7, 0, 1000].map((priority) => ({ spec: { command: ['x'], priority } })));
    const taken: string[] = [];
    const all = Promise.withResolvers<void>();
    await using _worker = await work(async (run) => {
      taken.push(run.id);
      await run.end(succeed);
      if (taken.length === ids.length) all.resolve();
    });
    await all.promise;
    expect(taken).toEqual([ids[3], ids[1], ids[0], ids[2]]);
  });

  it('submits all of a bulk or none of it', async () => {
    const bulk = floe.submitBulk([{ spec: { command: ['fine'] } }, { spec: { command: ['bad'], priority: 5000 } }]);
    await expect(bulk).rejects.toMatchObject({
      code: 'invalidJob',
      message: expect.stringMatching(/priority: .*5000/),
    });
    expect(await client.keys('*')).toEqual([]);
  });

  it('leaves nothing when the store cannot be reached', async () => {
    await writeFile(join(folder, 'store'), 'a file where a folder should be');
    await using stranded = await Floe.open({ redisUrl: redis.url, store });
    const submission = stranded.submit({ command: ['x'] }, { workspace: await makeWorkspace() });
    await expect(submission).rejects.toMatchObject({ code: 'storeFailed', remedy: expect.any(String) });
    expect(await client.keys('*')).toEqual([]);
  });

  it('names a workspace that is no folder', async () => {
    const submission = floe.submit({ command: ['x'] }, { workspace: join(folder, 'nowhere') });
    await expect(submission).rejects.toMatchObject({
      code: 'invalidJob',
      message: expect.stringContaining('nowhere'),
    });
    expect(await client.keys('*')).toEqual([]);
  });

  it('leaves nothing when it is cancelled during the upload', async () => {
    const signal = AbortSignal.abort(new Error('changed my mind'));
    const submission = floe.submit({ command: ['x'] }, { workspace: await makeWorkspace(), signal });
    await expect(submission).rejects.toThrow('changed my mind');
    expect(await client.keys('*')).toEqual([]);
  });

  it('says at once that Redis went away, and leaves no job', async () => {
    await redis.stop();
    try {
      await expect(floe.submit({ command: ['x'] })).rejects.toMatchObject({ code: 'redisUnreachable' });
    } finally {
      await redis.start();
    }
    expect(await client.keys('*')).toEqual([]);
  });
});

describe('list', () => {
  it('gives the newest first, by pool, state and limit', async () => {
    const [a = '', b = '', c = ''] = await floe.submitBulk([
      { spec: { command: ['a'], pool: 'gpu' } },
      { spec: { command: ['b'] } },
      { spec: { command: ['c'], pool: 'gpu' } },
    ]);
    await floe.cancel(c);
    const ids = async (options: Parameters<Floe['list']>[0]) => (await floe.list(options)).map((job) => job.id).sort();
    expect(await ids({})).toEqual([a, b, c].sort());
    expect(await ids({ pool: 'gpu' })).toEqual([a, c].sort());
    expect(await ids({ pool: 'gpu', state: 'queued' })).toEqual([a]);
    expect(await ids({ state: ['cancelled', 'running'] })).toEqual([c]);
    const later = await floe.submit({ command: ['later'] });
    expect(await ids({ limit: 1 })).toEqual([later]);
  });

  it('finds the one that matches among ten thousand, and forgets expired ones', async () => {
    const submissions = Array.from({ length: 10_000 }, () => ({ spec: { command: ['x'] } }));
    const ids = await floe.submitBulk(submissions);
    const [oldest = '', second = ''] = ids;
    await floe.cancel(oldest);
    await client.del(`{floe}:job:${second}`);
    expect((await floe.list({ state: 'cancelled' })).map((job) => job.id)).toEqual([oldest]);
    expect(await client.zcard('{floe}:jobs')).toBe(9999);
    expect(await floe.list()).toHaveLength(100);
  });
});

describe('cancel', () => {
  it('ends a queued job for good: no worker gets it, and the result is in the store', async () => {
    const id = await floe.submit({ command: ['x'] });
    expect(await floe.cancel(id)).toBe('cancelled');
    expect(await floe.get(id)).toMatchObject({ state: 'cancelled', result: { outcome: 'cancelled', end: null } });
    expect(await floe.waitUntilFinished(id)).toMatchObject({ outcome: 'cancelled' });
    await using opened = await openStore(store);
    expect(JSON.parse(String(await opened.get(storeKeys.result(id))))).toMatchObject({ outcome: 'cancelled' });
    const other = await floe.submit({ command: ['y'] });
    const taken: string[] = [];
    await using _worker = await work(async (run) => {
      taken.push(run.id);
      await run.end(succeed);
    });
    await floe.waitUntilFinished(other);
    expect(taken).toEqual([other]);
    await expect(floe.cancel(id)).rejects.toMatchObject({ code: 'conflict' });
  });

  it('asks the worker of a running job, and leaves the end to it', async () => {
    const id = await floe.submit({ command: ['x'] });
    const started = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    await using _worker = await work(async (run) => {
      started.resolve();
      await asked.promise;
      expect((await run.read())?.cancelRequestedAt).toBeGreaterThan(0);
      await run.end({ outcome: 'cancelled', end: null });
    });
    await started.promise;
    expect(await floe.cancel(id)).toBe('requested');
    expect((await floe.get(id)).state).toBe('running');
    asked.resolve();
    expect(await floe.waitUntilFinished(id)).toMatchObject({ outcome: 'cancelled', worker: 'stand-in' });
  });

  it('shuts out a run that does not know yet that it gave the job back', async () => {
    const id = await floe.submit({ command: ['x'] });
    const [stale] = await OwnedRecord.claim(client, id, 1, 'stale');
    await stale.write({ state: 'frozen' });
    expect(await floe.cancel(id)).toBe('cancelled');
    await expect(stale.write({ state: 'running' })).rejects.toMatchObject({ code: 'lost' });
    expect((await floe.get(id)).state).toBe('cancelled');
  });

  it('keeps the result that a worker committed before it died', async () => {
    const id = await floe.submit({ command: ['x'] });
    const result = {
      ...succeed,
      version: 1,
      jobId: id,
      reason: null,
      epoch: 1,
      worker: 'dead',
      outputs: null,
      logs: null,
    };
    await using opened = await openStore(store);
    const text = JSON.stringify({ ...result, finishedAt: new Date().toISOString() });
    await opened.create(storeKeys.result(id), Buffer.from(text));
    await expect(floe.cancel(id)).rejects.toMatchObject({ code: 'conflict' });
    expect(await floe.get(id)).toMatchObject({ state: 'succeeded', result: { worker: 'dead' } });
  });

  it('can be done again when the store failed half-way', async () => {
    const id = await floe.submit({ command: ['x'] });
    await writeFile(join(folder, 'store'), 'a file where a folder should be');
    await expect(floe.cancel(id)).rejects.toMatchObject({ code: 'storeFailed' });
    await rm(join(folder, 'store'));
    expect(await floe.cancel(id)).toBe('cancelled');
  });
});

describe('a job that runs', () => {
  it('shows its log as it grows, its end, and its outputs', async () => {
    const made = join(folder, 'made');
    await mkdir(made);
    await writeFile(join(made, 'answer.txt'), '42');
    const id = await floe.submit({ command: ['x'] });
    const seen = Promise.withResolvers<void>();
    await using _worker = await work(async (run) => {
      await run.print('stdout', 'first\n');
      await seen.promise; // goes on only after the follower has the first line
      await run.print('stderr', 'oops\n');
      await run.print('stdout', 'second\n');
      await run.end({ outcome: 'failed', end: { exitCode: 3, signal: null }, outputs: made });
    });
    const text = { stdout: '', stderr: '' };
    for await (const entry of floe.logs(id, { follow: true })) {
      if (entry.kind === 'text') text[entry.stream] += entry.bytes;
      seen.resolve();
    }
    expect(text).toEqual({ stdout: 'first\nsecond\n', stderr: 'oops\n' });
    expect(await floe.waitUntilFinished(id)).toMatchObject({ outcome: 'failed', end: { exitCode: 3 } });
    const stored = { stdout: '', stderr: '' };
    for await (const entry of floe.logs(id)) if (entry.kind === 'text') stored[entry.stream] += entry.bytes;
    expect(stored).toEqual(text);
    await floe.fetchOutputs(id, join(folder, 'fetched'));
    expect(await readFile(join(folder, 'fetched', 'answer.txt'), 'utf8')).toBe('42');
  });

  it('is still waited for after Redis was restarted', async () => {
    const id = await floe.submit({ command: ['x'] });
    const started = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    await using _worker = await work(async (run) => {
      started.resolve();
      await go.promise;
      await run.end(succeed);
    });
    const waiting = floe.waitUntilFinished(id);
    await started.promise;
    await redis.restart();
    go.resolve();
    expect(await waiting).toMatchObject({ outcome: 'succeeded' });
  });

  it('can be waited for no longer', async () => {
    const id = await floe.submit({ command: ['x'] });
    const waiting = floe.waitUntilFinished(id, { signal: AbortSignal.timeout(50) });
    await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' });
    expect((await floe.get(id)).state).toBe('queued');
  });

  it('has a checkpoint taken on request, and says why not', async () => {
    const id = await floe.submit({ command: ['x'] });
    await expect(floe.checkpoint(id)).rejects.toMatchObject({ code: 'conflict' });
    const [run] = await OwnedRecord.claim(client, id, 1, 'w');
    await run.write({ state: 'running' });
    const requested = async () => {
      while (!(await client.hget(`{floe}:job:${id}`, 'checkpointRequestedAt'))) await client.ping();
      await client.hdel(`{floe}:job:${id}`, 'checkpointRequestedAt');
    };
    const taken = floe.checkpoint(id);
    await requested();
    const event = { type: 'checkpointed', worker: 'w', checkpoint: '1-1', frozenMs: 12, bytesSent: 4096 };
    await run.write({ checkpoint: '1-1' }, { event });
    expect(await taken).toEqual({ checkpoint: '1-1', frozenMs: 12, bytesSent: 4096 });
    const refused = floe.checkpoint(id);
    refused.catch(() => undefined);
    await requested();
    await run.write(
      {},
      { event: { type: 'freezeFailed', worker: 'w', code: 'cannotFreeze', message: 'It uses io_uring.' } },
    );
    await expect(refused).rejects.toMatchObject({ code: 'cannotFreeze', message: expect.stringContaining('io_uring') });
  });

  it('tells its events in order', async () => {
    const controller = new AbortController();
    const events: JobEvent['type'][] = [];
    const listening = Promise.withResolvers<void>();
    const marker = 'marker';
    const following = (async () => {
      for await (const event of floe.events({ signal: controller.signal })) {
        if (event.jobId === marker) listening.resolve();
        else events.push(event.type);
        if (event.type === 'succeeded') return;
      }
    })();
    // Following begins "from now on": marks the stream until the follower has seen it.
    const mark = setInterval(() => {
      const event = JSON.stringify({ jobId: marker, epoch: 0, at: 1, type: 'submitted' });
      void client.xadd('{floe}:events', '*', 'event', event);
    }, 20);
    await listening.promise;
    clearInterval(mark);
    await using _worker = await work((run) => run.end(succeed));
    await floe.submit({ command: ['x'] });
    await following;
    expect(events).toEqual(['submitted', 'started', 'succeeded']);
  });
});

describe('what is not there', () => {
  it('is named', async () => {
    const unknown = 'default-aaaaaaaaaa';
    const calls = [
      floe.get(unknown),
      floe.get('no such id'),
      floe.cancel(unknown),
      floe.checkpoint(unknown),
      floe.waitUntilFinished(unknown),
      floe.fetchOutputs(unknown, folder),
      floe.logs(unknown).next(),
      floe.drain('nobody'),
    ];
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'notFound' } });
    }
    expect(await client.keys('*')).toEqual([]);
  });

  it('has no outputs before its end', async () => {
    const id = await floe.submit({ command: ['x'] });
    await expect(floe.fetchOutputs(id, folder)).rejects.toMatchObject({ code: 'conflict' });
  });
});

it('asks a worker to drain', async () => {
  const now = Date.now();
  await announceWorker(client, {
    name: 'w1',
    host: 'h',
    pid: 1,
    pools: ['default'],
    slots: 1,
    jobs: [],
    state: 'ready',
    notice: null,
    runtime: 'process',
    criuVersion: '4.1.1',
    cpuFeatures: [],
    startedAt: now,
    heartbeatAt: now,
  });
  expect(await floe.workers()).toMatchObject([{ name: 'w1', state: 'ready' }]);
  await floe.drain('w1');
  expect(await isDrainRequested(client, 'w1')).toBe(true);
});
