import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type TestRedis } from '../test/support/redis.ts';
import { followEvents, lastEventId } from './events.ts';
import { appendLog, LOG_BYTES_KEPT, LOG_ENTRY_BYTES, readLog } from './log.ts';
import { newJobId, redisKeys } from './names.ts';
import {
  createRecords,
  endWithoutRun,
  FINISHED_KEPT_MS,
  FINISHED_LOG_KEPT_MS,
  OwnedRecord,
  RUNS_KEPT,
  type RunRecord,
  readRecord,
  readRuns,
} from './record.ts';
import type { JobResult } from './result.ts';

let server: TestRedis;
let redis: Redis;
let id: string;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await redis.flushall();
  id = newJobId('default');
  await createRecords(redis, [{ id, name: 'x' }]);
});

function run(epoch: number, logStart = 0): RunRecord {
  const start = { stdout: logStart, stderr: 0 };
  const none = { checkpoints: 0, frozenMs: 0, bytesSent: 0, lostMs: 0, thawMs: null, thawedFrom: null, passedOver: [] };
  return { ...none, epoch, worker: 'w', startedAt: epoch, endedAt: null, end: null, logStart: start };
}

function cancelled(): JobResult {
  const nothing = { end: null, outputs: null, logs: null };
  const reason = { code: 'cancelled', message: 'No.' };
  const finishedAt = new Date().toISOString();
  return { version: 1, jobId: id, outcome: 'cancelled', reason, epoch: 1, worker: '', finishedAt, ...nothing };
}

describe('ownership', () => {
  it('goes to the newest epoch, and to each epoch once', async () => {
    const [, before] = await OwnedRecord.claim(redis, id, 2);
    expect(before).toMatchObject({ state: 'queued', epoch: 0, name: 'x' });
    for (const epoch of [1, 2]) {
      await expect(OwnedRecord.claim(redis, id, epoch)).rejects.toMatchObject({ code: 'lost' });
    }
    expect(await readRecord(redis, id)).toMatchObject({ epoch: 2 });
  });

  it('makes no record of a job that was taken back', async () => {
    const taken = newJobId('default');
    await expect(OwnedRecord.claim(redis, taken, 1)).rejects.toMatchObject({ code: 'lost' });
    expect(await readRecord(redis, taken)).toBeNull();
  });

  it('leaves in the record what tells of the run before', async () => {
    const [first] = await OwnedRecord.claim(redis, id, 1);
    await first.write({ state: 'running', worker: 'w1', aliveAt: 1000 });
    await OwnedRecord.claim(redis, id, 2);
    const [, before] = await OwnedRecord.claim(redis, id, 3);
    expect(before).toMatchObject({ state: 'running', worker: 'w1', aliveAt: 1000, epoch: 2 });
  });

  it('cannot undo an end, but can write it again', async () => {
    const [owner] = await OwnedRecord.claim(redis, id, 1);
    const end = () => owner.write({ state: 'succeeded' }, { event: { type: 'succeeded', message: '' } });
    await end();
    const last = await lastEventId(redis);
    await end();
    for (const change of [{ state: 'frozen' }, { state: 'failed' }, { worker: 'w' }]) {
      await expect(owner.write(change)).rejects.toMatchObject({ code: 'lost' });
    }
    expect(await readRecord(redis, id)).toMatchObject({ state: 'succeeded', worker: null });
    expect(await lastEventId(redis)).toBe(last);
  });

  it('is asked for at every write: a run that lost the job changes nothing, no event and no log either', async () => {
    const [stale] = await OwnedRecord.claim(redis, id, 1);
    await OwnedRecord.claim(redis, id, 2);
    const before = await Promise.all([redis.hgetall(redisKeys.record(id)), lastEventId(redis)]);
    const written = stale.write({ state: 'succeeded' }, { run: run(1), event: { type: 'succeeded', message: '' } });
    await expect(written).rejects.toMatchObject({ code: 'lost' });
    const entry = { stream: 'stdout', offsetBytes: 0, bytes: Buffer.from('x') } as const;
    expect(await appendLog(redis, id, 1, entry)).toBe(false);
    expect(await Promise.all([redis.hgetall(redisKeys.record(id)), lastEventId(redis)])).toEqual(before);
    expect(await readRuns(redis, id)).toEqual([]);
  });

  it('ends with the job, when that is ended without a run', async () => {
    const [stale] = await OwnedRecord.claim(redis, id, 1);
    const result = cancelled();
    expect(await endWithoutRun(redis, result)).toBe('cancelled');
    await expect(stale.write({ state: 'running' })).rejects.toMatchObject({ code: 'lost' });
    expect(await endWithoutRun(redis, { ...result, outcome: 'failed' })).toBe('cancelled');
    expect(await readRecord(redis, id)).toMatchObject({ state: 'cancelled', worker: null, result });
  });
});

it('changes fields, history and events in one step, and null removes a field', async () => {
  const after = await lastEventId(redis);
  const [owner] = await OwnedRecord.claim(redis, id, 1);
  await owner.write(
    { state: 'running', progress: null, checkpoint: 'c1' },
    { run: run(1), event: { type: 'started', worker: 'w' } },
  );
  await owner.write({ checkpoint: null });
  expect(await readRecord(redis, id)).toMatchObject({ state: 'running', checkpoint: null });
  expect(await readRuns(redis, id)).toEqual([run(1)]);
  const reader = redis.duplicate();
  for await (const event of followEvents(reader, { after, signal: new AbortController().signal })) {
    expect(event).toMatchObject({ jobId: id, epoch: 1, type: 'started', worker: 'w' });
    break;
  }
  reader.disconnect();
});

it('lets what Redis holds of a job expire once that has ended, and not before', async () => {
  const [owner] = await OwnedRecord.claim(redis, id, 1);
  await owner.write({ state: 'running' }, { run: run(1) });
  await appendLog(redis, id, 1, { stream: 'stdout', offsetBytes: 0, bytes: Buffer.from('x') });
  const keys = [redisKeys.record(id), redisKeys.runs(id), redisKeys.log(id, 1)];
  const expiries = () => Promise.all(keys.map((key) => redis.pttl(key)));
  expect(await expiries()).toEqual([-1, -1, -1]);
  await owner.write({ state: 'failed' });
  for (const expiryMs of await expiries()) {
    expect(expiryMs).toBeGreaterThan(0);
    expect(expiryMs).toBeLessThanOrEqual(FINISHED_KEPT_MS);
  }
});

it('keeps a log for as long as the record where the store does not have it', async () => {
  const kept = { key: 'k', sizeBytes: 1 };
  const keptMs = async (logs: JobResult['logs']) => {
    const [owner] = await OwnedRecord.claim(redis, id, 1);
    await owner.write({ state: 'running' }, { run: run(1) });
    await appendLog(redis, id, 1, { stream: 'stdout', offsetBytes: 0, bytes: Buffer.from('x') });
    await owner.write({ state: 'cancelled', result: JSON.stringify({ ...cancelled(), logs }) });
    return redis.pttl(redisKeys.log(id, 1));
  };
  expect(await keptMs(null)).toBeGreaterThan(FINISHED_LOG_KEPT_MS);
  id = newJobId('default');
  await createRecords(redis, [{ id, name: 'x' }]);
  expect(await keptMs({ stdout: kept, stderr: kept })).toBeLessThanOrEqual(FINISHED_LOG_KEPT_MS);
});

it('has no text of any length in it', async () => {
  const [owner] = await OwnedRecord.claim(redis, id, 1);
  const long = 'y'.repeat(2 ** 20);
  const passedOver = { ...run(1), passedOver: [long] };
  await owner.write(
    { state: 'running', problem: long },
    { run: passedOver, event: { type: 'passedOver', message: long } },
  );
  const all = JSON.stringify([await readRecord(redis, id), await readRuns(redis, id)]);
  expect(all.length).toBeLessThan(20_000);
  expect(await redis.memory('USAGE', redisKeys.events)).toBeLessThan(20_000);
});

describe('the log', () => {
  const read = async () => {
    const found: string[] = [];
    for await (const entry of readLog(redis, id, { follow: false, signal: new AbortController().signal })) {
      found.push(entry.kind === 'text' ? `${entry.offsetBytes}:${entry.bytes}` : entry.kind);
    }
    return found;
  };
  const append = (epoch: number, offsetBytes: number, text: string) =>
    appendLog(redis, id, epoch, { stream: 'stdout', offsetBytes, bytes: Buffer.from(text) });

  it('has every byte once over runs: what was undone is cut at the next run', async () => {
    const [first] = await OwnedRecord.claim(redis, id, 1);
    await first.write({ state: 'running' }, { run: run(1) });
    await append(1, 0, 'one\n');
    await append(1, 4, 'two\nundone\n');
    const [second] = await OwnedRecord.claim(redis, id, 2);
    await second.write({ state: 'running' }, { run: run(2, 8) });
    await append(2, 8, 'three\n');
    expect(await read()).toEqual(['0:one\n', '4:two\n', '8:three\n']);
  });

  it('is cut where a run began before the one in between: what that undid was undone for good', async () => {
    for (const [epoch, logStart] of [
      [1, 0],
      [2, 8],
      [3, 4],
    ] as const) {
      const [owner] = await OwnedRecord.claim(redis, id, epoch);
      await owner.write({ state: 'running' }, { run: run(epoch, logStart) });
      await append(epoch, logStart, 'abcd'.slice(epoch));
      if (epoch === 1) await append(1, 3, '\nundone\n');
    }
    expect(await read()).toEqual(['0:bcd', '3:\n', '4:d']);
  });

  it('tells what is gone at the end of a run', async () => {
    for (const [epoch, logStart] of [
      [1, 0],
      [2, 8],
    ] as const) {
      const [owner] = await OwnedRecord.claim(redis, id, epoch);
      await owner.write({ state: 'running' }, { run: run(epoch, logStart) });
    }
    await append(2, 8, 'three\n');
    expect(await read()).toEqual(['skipped', '8:three\n']);
  });

  const begin = async (epoch: number) => {
    const [owner] = await OwnedRecord.claim(redis, id, epoch);
    await owner.write({ state: 'running' }, { run: run(epoch, 100 * epoch) });
  };
  const sizes = (...epochs: number[]) => Promise.all(epochs.map((epoch) => redis.xlen(redisKeys.log(id, epoch))));
  const counted = async () => [await redis.zscore(redisKeys.logBytes, id), await redis.get(redisKeys.logTotal)];
  const chunk = Buffer.alloc(LOG_ENTRY_BYTES, 'x');
  const fill = async (epoch: number, bytes: number, fleetBytes?: number) => {
    for (let at = 0; at < bytes; at += chunk.length)
      await appendLog(redis, id, epoch, { stream: 'stdout', offsetBytes: at, bytes: chunk }, fleetBytes);
  };

  it('is bounded over all runs by its bytes: the oldest entries go, and a short history stays whole', async () => {
    for (const epoch of [1, 2, 3]) {
      await begin(epoch);
      await append(epoch, 100 * epoch, 'x');
    }
    expect(await sizes(1, 2, 3)).toEqual([1, 1, 1]);
    await begin(4);
    await fill(4, 4 * LOG_BYTES_KEPT);
    expect(await sizes(1, 2, 3)).toEqual([0, 0, 0]);
    const [bytes, total] = await counted();
    expect(Number(bytes)).toBeLessThanOrEqual(LOG_BYTES_KEPT);
    expect(Number(bytes)).toBeGreaterThan(LOG_BYTES_KEPT - 6 * LOG_ENTRY_BYTES);
    expect(total).toBe(bytes);
    expect((await sizes(4))[0]).toBeLessThanOrEqual(LOG_BYTES_KEPT / LOG_ENTRY_BYTES);
    expect((await read())[0]).toBe('skipped');
  });

  it('of very many very short pieces is bounded just so', async () => {
    await begin(1);
    const pieces = Array.from({ length: 20_000 }, (_, at) => append(1, at, 'x'.repeat(100)));
    await Promise.all(pieces);
    expect((await sizes(1))[0]).toBeLessThanOrEqual(LOG_BYTES_KEPT / 228);
  });

  it('of one job never costs another its few lines, when all have too much', async () => {
    await begin(1);
    await append(1, 100, 'honest\n');
    const honest = id;
    const noisy: string[] = [];
    for (let at = 0; at < 3; at++) {
      id = newJobId('default');
      noisy.push(id);
      await createRecords(redis, [{ id, name: 'x' }]);
      await begin(1);
      await fill(1, LOG_BYTES_KEPT, LOG_BYTES_KEPT);
    }
    expect(Number(await redis.get(redisKeys.logTotal))).toBeLessThanOrEqual(LOG_BYTES_KEPT);
    id = honest;
    expect(await read()).toEqual(['skipped', '100:honest\n']);
    for (id of noisy) expect((await sizes(1))[0]).toBeGreaterThan(0);
  });

  it('goes as a whole when its job has ended and it is the largest, and is not counted once it has expired', async () => {
    await begin(1);
    await fill(1, LOG_BYTES_KEPT / 2);
    const [owner] = await OwnedRecord.claim(redis, id, 2);
    await owner.write({ state: 'failed' });
    const ended = id;
    id = newJobId('default');
    await createRecords(redis, [{ id, name: 'x' }]);
    await begin(1);
    await fill(1, LOG_BYTES_KEPT / 2 + chunk.length, LOG_BYTES_KEPT / 2);
    expect(await redis.exists(redisKeys.log(ended, 1))).toBe(0);
    const [bytes, total] = await counted();
    expect(total).toBe(bytes);
    await redis.zadd(redisKeys.logEnded, 1, id);
    id = newJobId('default');
    await createRecords(redis, [{ id, name: 'x' }]);
    await begin(1);
    await append(1, 0, 'x');
    expect(await redis.get(redisKeys.logTotal)).toBe(String(1 + 128));
  });

  it('of an earlier version of Floe, which nobody counted, goes when a run writes', async () => {
    await begin(1);
    await redis.xadd(redisKeys.log(id, 1), '*', 'stream', 'stdout', 'offset', '0', 'bytes', 'old');
    await begin(2);
    await append(2, 200, 'x');
    expect(await sizes(1, 2)).toEqual([0, 1]);
  });

  it('and the history of a job that moves without end are bounded', async () => {
    const last = RUNS_KEPT + 20;
    const runs = Object.fromEntries(Array.from({ length: last }, (_, at) => [at + 1, JSON.stringify(run(at + 1))]));
    await begin(1);
    await append(1, 0, 'x');
    await redis.hset(redisKeys.runs(id), runs);
    await begin(last + 1);
    await append(last + 1, 0, 'x');
    expect((await readRuns(redis, id)).map(({ epoch }) => epoch).slice(0, 1)).toEqual([22]);
    expect(await redis.hlen(redisKeys.runs(id))).toBe(RUNS_KEPT);
    expect(await redis.exists(redisKeys.log(id, 1))).toBe(0);
    expect(await counted()).toEqual([String(1 + 128), String(1 + 128)]);
  });

  it('keeps bytes that are no text, and says where Redis has dropped some', async () => {
    const [owner] = await OwnedRecord.claim(redis, id, 1);
    await owner.write({ state: 'running' }, { run: run(1) });
    const bytes = Buffer.from([0xff, 0x00, 0xfe]);
    await appendLog(redis, id, 1, { stream: 'stdout', offsetBytes: 100, bytes });
    const entries = await Array.fromAsync(readLog(redis, id, { follow: false, signal: new AbortController().signal }));
    expect(entries).toMatchObject([
      { kind: 'skipped', sizeBytes: 100 },
      { kind: 'text', bytes },
    ]);
  });
});
