import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type JobEvent, OwnedRecord, storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import { useProducer } from '../test/support/producer.ts';
import { SUCCEEDED } from '../test/support/standInWorker.ts';

const producer = useProducer();

describe('cancel', () => {
  it('ends a queued job for good: no worker gets it, and the result is in the store', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    expect(await producer.floe.cancel(id)).toBe('cancelled');
    expect(await producer.floe.get(id)).toMatchObject({
      state: 'cancelled',
      result: { outcome: 'cancelled', end: null },
    });
    expect(await producer.floe.waitUntilFinished(id)).toMatchObject({ outcome: 'cancelled' });
    await using opened = await openStore(producer.store);
    expect(JSON.parse(String(await opened.get(storeKeys.result(id))))).toMatchObject({ outcome: 'cancelled' });
    const other = await producer.floe.submit({ command: ['y'] });
    const taken: string[] = [];
    await using _worker = await producer.work(async (run) => {
      taken.push(run.id);
      await run.end(SUCCEEDED);
    });
    await producer.floe.waitUntilFinished(other);
    expect(taken).toEqual([other]);
    await expect(producer.floe.cancel(id)).rejects.toMatchObject({ code: 'conflict' });
  });

  it('asks the worker of a running job, and leaves the end to it', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    const started = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    await using _worker = await producer.work(async (run) => {
      started.resolve();
      await asked.promise;
      expect((await run.read())?.cancelRequestedAt).toBeGreaterThan(0);
      await run.end({ outcome: 'cancelled', end: null });
    });
    await started.promise;
    expect(await producer.floe.cancel(id)).toBe('requested');
    expect((await producer.floe.get(id)).state).toBe('running');
    asked.resolve();
    expect(await producer.floe.waitUntilFinished(id)).toMatchObject({ outcome: 'cancelled', worker: 'stand-in' });
  });

  it('shuts out a run that does not know yet that it gave the job back', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    const [stale] = await OwnedRecord.claim(producer.client, id, 1);
    await stale.write({ state: 'frozen' });
    expect(await producer.floe.cancel(id)).toBe('cancelled');
    await expect(stale.write({ state: 'running' })).rejects.toMatchObject({ code: 'lost' });
    expect((await producer.floe.get(id)).state).toBe('cancelled');
  });

  it('keeps the result that a worker committed before it died', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    const result = {
      ...SUCCEEDED,
      version: 1,
      jobId: id,
      reason: null,
      epoch: 1,
      worker: 'dead',
      outputs: null,
      logs: null,
    };
    await using opened = await openStore(producer.store);
    const text = JSON.stringify({ ...result, finishedAt: new Date().toISOString() });
    await opened.create(storeKeys.result(id), Buffer.from(text));
    await expect(producer.floe.cancel(id)).rejects.toMatchObject({ code: 'conflict' });
    expect(await producer.floe.get(id)).toMatchObject({ state: 'succeeded', result: { worker: 'dead' } });
  });

  it('can be done again when the store failed half-way', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    await writeFile(join(producer.folder, 'store'), 'a file where a folder should be');
    await expect(producer.floe.cancel(id)).rejects.toMatchObject({ code: 'storeFailed' });
    await rm(join(producer.folder, 'store'));
    expect(await producer.floe.cancel(id)).toBe('cancelled');
  });
});

describe('a job that runs', () => {
  it('shows its log as it grows, its end, and its outputs', async () => {
    const made = join(producer.folder, 'made');
    await mkdir(made);
    await writeFile(join(made, 'answer.txt'), '42');
    const id = await producer.floe.submit({ command: ['x'] });
    const seen = Promise.withResolvers<void>();
    await using _worker = await producer.work(async (run) => {
      await run.print('stdout', 'first\n');
      await seen.promise; // goes on only after the follower has the first line
      await run.print('stderr', 'oops\n');
      await run.print('stdout', 'second\n');
      await run.end({ outcome: 'failed', end: { exitCode: 3, signal: null }, outputs: made });
    });
    const text = { stdout: '', stderr: '' };
    for await (const entry of producer.floe.logs(id, { follow: true })) {
      if (entry.kind === 'text') text[entry.stream] += entry.bytes;
      seen.resolve();
    }
    expect(text).toEqual({ stdout: 'first\nsecond\n', stderr: 'oops\n' });
    expect(await producer.floe.waitUntilFinished(id)).toMatchObject({ outcome: 'failed', end: { exitCode: 3 } });
    const stored = { stdout: '', stderr: '' };
    for await (const entry of producer.floe.logs(id)) if (entry.kind === 'text') stored[entry.stream] += entry.bytes;
    expect(stored).toEqual(text);
    await producer.floe.fetchOutputs(id, join(producer.folder, 'fetched'));
    expect(await readFile(join(producer.folder, 'fetched', 'answer.txt'), 'utf8')).toBe('42');
  });

  it('is still waited for after Redis was restarted', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    const started = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    await using _worker = await producer.work(async (run) => {
      started.resolve();
      await go.promise;
      await run.end(SUCCEEDED);
    });
    const waiting = producer.floe.waitUntilFinished(id);
    await started.promise;
    await producer.redis.restart();
    go.resolve();
    expect(await waiting).toMatchObject({ outcome: 'succeeded' });
  });

  it('can be waited for no longer', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    const waiting = producer.floe.waitUntilFinished(id, { signal: AbortSignal.timeout(50) });
    await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' });
    expect((await producer.floe.get(id)).state).toBe('queued');
  });

  it('has a checkpoint taken on request, and says why not', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    await expect(producer.floe.checkpoint(id)).rejects.toMatchObject({ code: 'conflict' });
    const [run] = await OwnedRecord.claim(producer.client, id, 1);
    await run.write({ state: 'running' });
    const requested = async () => {
      while (!(await producer.client.hget(`{floe}:job:${id}`, 'checkpointRequestedAt'))) await producer.client.ping();
      await producer.client.hdel(`{floe}:job:${id}`, 'checkpointRequestedAt');
    };
    const taken = producer.floe.checkpoint(id);
    await requested();
    const event = { type: 'checkpointed', worker: 'w', checkpoint: '1-1', frozenMs: 12, bytesSent: 4096 };
    await run.write({ checkpoint: '1-1' }, { event });
    expect(await taken).toEqual({ checkpoint: '1-1', frozenMs: 12, bytesSent: 4096 });
    const refused = producer.floe.checkpoint(id);
    refused.catch(() => undefined);
    await requested();
    await run.write(
      {},
      { event: { type: 'freezeFailed', worker: 'w', code: 'cannotFreeze', message: 'It uses io_uring.' } },
    );
    await expect(refused).rejects.toMatchObject({ code: 'cannotFreeze', message: expect.stringContaining('io_uring') });
    const vain = producer.floe.checkpoint(id);
    vain.catch(() => undefined);
    await requested();
    await run.write({}, { event: { type: 'crashed', worker: 'w', lostMs: 0 } });
    await expect(vain).rejects.toMatchObject({ code: 'conflict' });
  });

  it('hears of an end whose event was pushed out before it was read', async () => {
    const id = await producer.floe.submit({ command: ['x'] });
    const waiting = producer.floe.waitUntilFinished(id);
    const isFollowing = async () => /cmd=xread/.test(String(await producer.client.client('LIST')));
    while (!(await isFollowing())) await producer.client.ping();
    const [run] = await OwnedRecord.claim(producer.client, id, 1);
    const now = new Date().toISOString();
    const nothing = { end: null, reason: null, outputs: null, logs: null };
    const result = { version: 1, jobId: id, outcome: 'failed', epoch: 1, worker: 'w', finishedAt: now, ...nothing };
    await run.write({ state: 'failed', result: JSON.stringify(result) }); // and no event
    expect(await waiting).toMatchObject({ outcome: 'failed' });
  });

  it('tells its events in order', async () => {
    const controller = new AbortController();
    const events: JobEvent['type'][] = [];
    const listening = Promise.withResolvers<void>();
    const marker = 'marker';
    const following = (async () => {
      for await (const event of producer.floe.events({ signal: controller.signal })) {
        if (event.jobId === marker) listening.resolve();
        else events.push(event.type);
        if (event.type === 'succeeded') return;
      }
    })();
    // Following begins "from now on": marks the stream until the follower has seen it.
    const mark = setInterval(() => {
      const event = JSON.stringify({ jobId: marker, epoch: 0, at: 1, type: 'submitted' });
      void producer.client.xadd('{floe}:events', '*', 'event', event);
    }, 20);
    await listening.promise;
    clearInterval(mark);
    await using _worker = await producer.work((run) => run.end(SUCCEEDED));
    await producer.floe.submit({ command: ['x'] });
    await following;
    expect(events).toEqual(['submitted', 'started', 'succeeded']);
  });
});
