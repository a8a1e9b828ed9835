/** `floe checkpoints`, `verify`, `rm`, `du` and `gc`, as users have them, on a real Redis and a store in a folder and in Ceph. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkpointKeys } from '../freezer/checkpoint/format.ts';
import { writeCheckpoint } from '../freezer/testing/writeCheckpoint.ts';
import { writeWholeCheckpoint } from '../freezer/testing/writeWholeCheckpoint.ts';
import { createRecords, type JobResult, newJobId, redisKeys, storeKeys } from '../jobs/index.ts';
import { openStore, type Store } from '../store/index.ts';
import { type Ceph, startCeph } from '../store/testing/ceph.ts';
import { startRedis, type TestRedis } from '../test/support/redis.ts';
import { createFence } from '../workers/fence.ts';

const FLOE = join(import.meta.dirname, '../bin/floe.ts');
let server: TestRedis;
let redis: Redis;
let ceph: Ceph;
beforeAll(async () => {
  [server, ceph] = await Promise.all([startRedis(), startCeph()]);
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis?.disconnect();
  await server?.[Symbol.asyncDispose]();
  await ceph?.[Symbol.asyncDispose]();
});

describe.each(['folder', 'Ceph'] as const)('with a store in a %s', (kind) => {
  let directory: string;
  let url: string;
  let store: Store;
  beforeEach(async () => {
    await redis.flushall();
    directory = await mkdtemp(join(tmpdir(), 'floe-upkeep-'));
    if (kind === 'Ceph') for (const [name, value] of Object.entries(ceph.environment)) vi.stubEnv(name, value);
    url = kind === 'Ceph' ? ceph.storeUrl(await ceph.createBucket()) : `file://${directory}/store`;
    store = await openStore(url);
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await store[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function floe(...words: string[]) {
    const env = { FLOE_REDIS_URL: server.url, FLOE_STORE: url, FLOE_STATE_DIR: directory };
    const { exitCode, stdout, stderr } = await execa(process.execPath, [FLOE, ...words, '--json'], {
      reject: false,
      env,
    });
    return { exitCode, stderr, json: exitCode === 0 || exitCode === 119 ? JSON.parse(stdout) : null };
  }

  /** A job that run `epoch` has, with one checkpoint that can be read and an upload under way. */
  async function livingJob(epoch = 2) {
    const id = newJobId('default');
    await createRecords(redis, [{ id, name: 'x' }]);
    const prefix = storeKeys.checkpoints(id);
    await createFence(store, id, { version: 1, epoch, worker: 'one', thawsFrom: null, at: 1 });
    await store.create(storeKeys.input(id), Buffer.alloc(1000));
    await writeWholeCheckpoint(store, prefix, '00000002-000002');
    await writeCheckpoint(store, prefix, { id: '00000002-000003', uncommitted: true });
    return { id, prefix };
  }

  async function end(id: string, more: Partial<JobResult> = {}): Promise<void> {
    const result: JobResult = {
      ...{ version: 1, jobId: id, outcome: 'succeeded', end: { exitCode: 0, signal: null }, reason: null, epoch: 2 },
      ...{ worker: 'one', finishedAt: new Date().toISOString(), outputs: null, logs: null },
      ...more,
    };
    await store.create(storeKeys.result(id), Buffer.from(JSON.stringify(result)));
    await redis.hset(redisKeys.record(id), { state: 'succeeded', result: JSON.stringify(result) });
  }

  const keys = async (prefix: string) => (await Array.fromAsync(store.list(prefix))).map(({ key }) => key);

  test('gc removes what failed uploads left, and leaves the one under way; --dry-run removes nothing', async () => {
    const { id, prefix } = await livingJob();
    const needed = await keys('jobs/');
    await writeCheckpoint(store, prefix, { id: '00000002-000001', uncommitted: true });
    await writeCheckpoint(store, prefix, { id: '00000001-000009', uncommitted: true });
    const all = await keys('jobs/');
    const expected = { objects: 4, jobs: [{ id, why: 'leftovers', objects: 4, sizeBytes: 300 }] };
    expect((await floe('gc', '--older-than', '1h')).json).toMatchObject({ objects: 0 });
    expect((await floe('gc', '--dry-run', '--older-than', '0')).json).toMatchObject({ ...expected, dryRun: true });
    expect(await keys('jobs/')).toEqual(all);
    expect((await floe('gc', '--older-than', '0')).json).toMatchObject(expected);
    expect(await keys('jobs/')).toEqual(needed);
  });

  test('gc names a job whose result is none, and clears the others', async () => {
    const broken = await livingJob();
    const ended = await livingJob();
    await redis.del(redisKeys.record(broken.id));
    await store.create(storeKeys.result(broken.id), Buffer.from('no result'));
    await end(ended.id);
    const { json } = await floe('gc', '--older-than', '0');
    const problem = expect.stringContaining('result');
    expect(json.jobs).toContainEqual({ id: broken.id, why: 'unreadable', objects: 0, sizeBytes: 0, problem });
    expect(json.jobs).toContainEqual(expect.objectContaining({ id: ended.id, why: 'ended' }));
    expect(await keys(ended.prefix)).toEqual([]);
    expect(await keys(broken.prefix)).not.toEqual([]);
  });

  test('gc removes checkpoints of jobs that have ended or are unknown, unless they are kept or young', async () => {
    const [ended, kept, unknown] = [await livingJob(), await livingJob(), await livingJob()];
    await end(ended.id);
    await end(kept.id, { checkpointsKept: true });
    await redis.del(redisKeys.record(kept.id), redisKeys.record(unknown.id));
    expect((await floe('gc')).json).toMatchObject({ objects: 0 });
    expect(await keys(unknown.prefix)).not.toEqual([]);
    const { json } = await floe('gc', '--older-than', '0');
    const why = Object.fromEntries(json.jobs.map((job: { id: string; why: string }) => [job.id, job.why]));
    expect(why).toEqual({ [ended.id]: 'ended', [kept.id]: 'leftovers', [unknown.id]: 'unknown' });
    expect([await keys(ended.prefix), await keys(unknown.prefix)]).toEqual([[], []]);
    expect((await floe('verify', kept.id)).exitCode).toBe(0);
    expect(await keys(storeKeys.input(ended.id))).toHaveLength(1);
  });

  test('checkpoints and verify: what there is, and whether it is whole', async () => {
    const { id, prefix } = await livingJob();
    const listed = (await floe('checkpoints', id)).json;
    expect(listed).toEqual([expect.objectContaining({ id: '00000002-000002', state: 'current', isEncrypted: false })]);
    expect((await floe('verify', id)).json).toEqual([expect.objectContaining({ chunks: 4, damages: [] })]);
    const pack = prefix + checkpointKeys.pack('00000002-000002', 1);
    const bytes = await store.get(pack);
    bytes[50] = (bytes[50] ?? 0) ^ 1;
    await store.delete([pack]);
    await store.create(pack, bytes);
    const damaged = await floe('verify', id, '00000002-000002');
    expect(damaged).toMatchObject({ exitCode: 119, json: [{ hits: ['image core-1001.img'] }] });
    expect((await floe('verify', id, '00000009-000001')).exitCode).toBe(122);
    expect((await floe('verify', 'default-aaaaaaaaaa')).exitCode).toBe(122);
    expect((await floe('checkpoints', 'nonsense')).exitCode).toBe(122);
  });

  test('checkpoints and verify name what is not what Redis knows: gone, or not encrypted', async () => {
    const { id, prefix } = await livingJob();
    await redis.hset(redisKeys.record(id), {
      state: 'frozen',
      checkpoint: '00000002-000002',
      checkpointIsEncrypted: '1',
    });
    expect((await floe('checkpoints', id)).json).toMatchObject([
      { id: '00000002-000002', state: 'unreadable', problem: expect.stringMatching(/not encrypted.*\(substituted\)$/) },
    ]);
    expect(await floe('verify', id)).toMatchObject({
      exitCode: 119,
      json: [{ damages: [expect.stringContaining('(substituted)')] }],
    });
    await store.delete([prefix + checkpointKeys.manifest('00000002-000002')]);
    expect((await floe('checkpoints', id)).json).toMatchObject([
      { id: '00000002-000002', state: 'missing', problem: expect.stringContaining('(checkpointRolledBack)') },
    ]);
    expect(await floe('verify', id)).toMatchObject({ exitCode: 119, json: [{ hits: ['everything'] }] });
  });

  test('du shows what a job takes; rm gives it back once it has ended', async () => {
    const { id } = await livingJob();
    const other = await livingJob();
    const [usage] = (await floe('du', id)).json;
    expect(usage).toMatchObject({ id, input: 1000, outputs: 0, logs: 0 });
    expect(usage.total).toBe(usage.input + usage.checkpoints + usage.other);
    const refused = await floe('rm', id);
    expect(refused).toMatchObject({ exitCode: 123, stderr: expect.stringContaining('has not ended') });
    await end(id);
    expect((await floe('rm', id, '--checkpoints')).exitCode).toBe(0);
    expect((await floe('du', id)).json[0]).toMatchObject({ input: 1000, checkpoints: 0 });
    expect((await floe('rm', id)).exitCode).toBe(0);
    expect(await keys(storeKeys.job(id))).toEqual([]);
    expect(await redis.exists(redisKeys.record(id))).toBe(0);
    expect((await floe('rm', id)).exitCode).toBe(122);
    expect((await floe('du')).json).toEqual([expect.objectContaining({ id: other.id })]);
  });
});
