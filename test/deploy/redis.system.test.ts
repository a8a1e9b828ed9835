/** A Redis as docs/deploy/redis-and-s3.md wants it: TLS, a user with few rights, and cluster mode with one shard. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WorkerProcess } from '../support/workerProcess.ts';
import { type ManagedRedis, startManagedRedis } from './managedRedis.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');
const LINES = Array.from({ length: 80 }, (_, index) => index + 1);

let directory: string;
let redis: ManagedRedis;
let place: { directory: string; redisUrl: string; storeUrl: string };
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-managed-'));
  redis = await startManagedRedis();
  place = { directory, redisUrl: redis.url, storeUrl: pathToFileURL(join(directory, 'store')).href };
  vi.stubEnv('NODE_EXTRA_CA_CERTS', redis.authorityFile);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await redis[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

async function floe(...words: string[]): Promise<string> {
  const env = { FLOE_REDIS_URL: place.redisUrl, FLOE_STORE: place.storeUrl, FLOE_STATE_DIR: directory };
  return (await execa(process.execPath, [FLOE, ...words], { env, cwd: directory, timeout: 100_000 })).stdout;
}

test('a job is submitted, moved, followed and listed, and the user is refused nothing that Floe wants', async () => {
  await using one = await WorkerProcess.start('one', place, {});
  await one.says('ready');
  const count = 'i=0; while [ $i -lt 80 ]; do i=$((i + 1)); echo $i; sleep 0.1; done';
  const { id } = JSON.parse(await floe('submit', '--json', '--', 'sh', '-c', count)) as { id: string };
  await one.says('"msg":"started"');
  await one.interrupt();
  await using two = await WorkerProcess.start('two', place, {});
  await two.says('"msg":"thawed"');
  expect((await floe('logs', '--follow', id)).split('\n').map(Number)).toEqual(LINES);
  expect(await floe('ls')).toContain(id);
  expect(await floe('workers')).toContain('two');
  expect(await redis.refusals()).toEqual([]);
});

test('the user has nothing to do with what is not Floe’s', async () => {
  const client = new Redis(redis.url, { tls: { ca: await readFile(redis.authorityFile) } });
  try {
    await expect(client.get('other')).rejects.toThrow(/NOPERM/);
    await expect(client.publish('other', '')).rejects.toThrow(/NOPERM/);
    await expect(client.config('GET', 'dir')).rejects.toThrow(/NOPERM/);
    await expect(client.flushall()).rejects.toThrow(/NOPERM/);
  } finally {
    client.disconnect();
  }
});
