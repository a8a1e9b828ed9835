import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { announceWorker, isDrainRequested, openQueue, storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import { useProducer } from '../test/support/producer.ts';
import { SUCCEEDED } from '../test/support/standInWorker.ts';
import { Floe } from './floe.ts';

const producer = useProducer();

describe('submit', () => {
  it('uploads the workspace and queues the whole spec', async () => {
    const id = await producer.floe.submit(
      { command: ['/bin/xz', '-9'], priority: 5 },
      { workspace: await producer.makeWorkspace() },
    );
    expect(id).toMatch(/^default-[a-z2-9]{10}$/);
    expect(await producer.floe.get(id)).toMatchObject({
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
    await using opened = await openStore(producer.store);
    expect((await opened.get(storeKeys.input(id))).length).toBeGreaterThan(0);
    const queue = openQueue('default', producer.client);
    expect(await queue.getPrioritizedCount()).toBe(1);
    await queue.close();
  });

  it('lets a larger priority go first, and equal ones in order', async () => {
    const ids = await producer.floe.submitBulk(
      [0, 7, 0, 1000].map((priority) => ({ spec: { command: ['x'], priority } })),
    );
    const taken: string[] = [];
    const all = Promise.withResolvers<void>();
    await using _worker = await producer.work(async (run) => {
      taken.push(run.id);
      await run.end(SUCCEEDED);
      if (taken.length === ids.length) all.resolve();
    });
    await all.promise;
    expect(taken).toEqual([ids[3], ids[1], ids[0], ids[2]]);
  });

  it('submits all of a bulk or none of it', async () => {
    const bulk = producer.floe.submitBulk([
      { spec: { command: ['fine'] } },
      { spec: { command: ['bad'], priority: 5000 } },
    ]);
    await expect(bulk).rejects.toMatchObject({
      code: 'invalidJob',
      message: expect.stringMatching(/priority: .*5000/),
    });
    expect(await producer.client.keys('*')).toEqual([]);
  });

  it('leaves nothing when the store cannot be reached', async () => {
    await writeFile(join(producer.folder, 'store'), 'a file where a folder should be');
    await using stranded = await Floe.open({ redisUrl: producer.redis.url, store: producer.store });
    const submission = stranded.submit({ command: ['x'] }, { workspace: await producer.makeWorkspace() });
    await expect(submission).rejects.toMatchObject({ code: 'storeFailed', remedy: expect.any(String) });
    expect(await producer.client.keys('*')).toEqual([]);
  });

  it('names a workspace that is no folder', async () => {
    const submission = producer.floe.submit({ command: ['x'] }, { workspace: join(producer.folder, 'nowhere') });
    await expect(submission).rejects.toMatchObject({
      code: 'invalidJob',
      message: expect.stringContaining('nowhere'),
    });
    expect(await producer.client.keys('*')).toEqual([]);
  });

  it('leaves nothing when it is cancelled during the upload', async () => {
    const signal = AbortSignal.abort(new Error('changed my mind'));
    const submission = producer.floe.submit({ command: ['x'] }, { workspace: await producer.makeWorkspace(), signal });
    await expect(submission).rejects.toThrow('changed my mind');
    expect(await producer.client.keys('*')).toEqual([]);
  });

  it('says at once that Redis went away, and leaves no job', async () => {
    await producer.redis.stop();
    try {
      await expect(producer.floe.submit({ command: ['x'] })).rejects.toMatchObject({ code: 'redisUnreachable' });
    } finally {
      await producer.redis.start();
    }
    expect(await producer.client.keys('*')).toEqual([]);
  });
});

describe('list', () => {
  it('gives the newest first, by pool, state and limit', async () => {
    const [a = '', b = '', c = ''] = await producer.floe.submitBulk([
      { spec: { command: ['a'], pool: 'gpu' } },
      { spec: { command: ['b'] } },
      { spec: { command: ['c'], pool: 'gpu' } },
    ]);
    await producer.floe.cancel(c);
    const ids = async (options: Parameters<Floe['list']>[0]) =>
      (await producer.floe.list(options)).map((job) => job.id).sort();
    expect(await ids({})).toEqual([a, b, c].sort());
    expect(await ids({ pool: 'gpu' })).toEqual([a, c].sort());
    expect(await ids({ pool: 'gpu', state: 'queued' })).toEqual([a]);
    expect(await ids({ state: ['cancelled', 'running'] })).toEqual([c]);
    const later = await producer.floe.submit({ command: ['later'] });
    expect(await ids({ limit: 1 })).toEqual([later]);
  });

  it('finds the one that matches among ten thousand, and forgets expired ones', async () => {
    const submissions = Array.from({ length: 10_000 }, () => ({ spec: { command: ['x'] } }));
    const ids = await producer.floe.submitBulk(submissions);
    const [oldest = '', second = ''] = ids;
    await producer.floe.cancel(oldest);
    await producer.client.del(`{floe}:job:${second}`);
    expect((await producer.floe.list({ state: 'cancelled' })).map((job) => job.id)).toEqual([oldest]);
    expect(await producer.client.zcard('{floe}:jobs')).toBe(9999);
    expect(await producer.floe.list()).toHaveLength(100);
  });
});

describe('what is not there', () => {
  it('is named', async () => {
    const unknown = 'default-aaaaaaaaaa';
    const calls = [
      producer.floe.get(unknown),
      producer.floe.get('no such id'),
      producer.floe.cancel(unknown),
      producer.floe.checkpoint(unknown),
      producer.floe.waitUntilFinished(unknown),
      producer.floe.fetchOutputs(unknown, producer.folder),
      producer.floe.logs(unknown).next(),
      producer.floe.drain('nobody'),
    ];
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'notFound' } });
    }
    expect(await producer.client.keys('*')).toEqual([]);
  });

  it('has no outputs before its end', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    await expect(producer.floe.fetchOutputs(id, producer.folder)).rejects.toMatchObject({ code: 'conflict' });
  });
});

it('asks a worker to drain', async () => {
  const now = Date.now();
  await announceWorker(producer.client, {
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
  expect(await producer.floe.workers()).toMatchObject([{ name: 'w1', state: 'ready' }]);
  await producer.floe.drain('w1');
  expect(await isDrainRequested(producer.client, 'w1')).toBe(true);
});
