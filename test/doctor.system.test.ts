/** `floe doctor` on this machine, with what is right and with what is not. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore, probeStore } from '../store/index.ts';
import { startRedis, type TestRedis } from './support/redis.ts';
import { defaultToolbox } from './support/toolbox.ts';

const FLOE = fileURLToPath(new URL('../bin/floe.ts', import.meta.url));
let redis: TestRedis;
let folder: string;
beforeAll(async () => {
  redis = await startRedis();
  folder = await mkdtemp(join(tmpdir(), 'floe-doctor-'));
});
afterAll(async () => {
  await redis[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function doctor(env: Record<string, string> = {}) {
  const store = pathToFileURL(join(folder, 'store')).href;
  const common = { FLOE_REDIS_URL: redis.url, FLOE_STORE: store, FLOE_STATE_DIR: join(folder, 'state') };
  const all = { ...common, FLOE_TOOLBOX: defaultToolbox(), FLOE_RUNTIMES: 'process', ...env };
  const { exitCode, stdout } = await execa(process.execPath, [FLOE, 'doctor', '--json'], { env: all, reject: false });
  const findings: { check: string; status: string; found: string }[] = JSON.parse(stdout);
  return { exitCode, failed: findings.filter(({ status }) => status === 'fail'), findings };
}

test('a machine with all that it needs passes, and nothing is left in the store', async () => {
  const { exitCode, failed, findings } = await doctor();
  expect({ exitCode, failed }).toEqual({ exitCode: 0, failed: [] });
  expect(findings.map(({ check }) => check)).toEqual(
    expect.arrayContaining(['CRIU', 'criu check', 'conditional writes', 'Redis eviction', 'runtime process']),
  );
  await using store = await openStore(pathToFileURL(join(folder, 'store')).href);
  expect(await Array.fromAsync(store.list(''))).toEqual([]);
});

test('a Redis that drops keys fails', async () => {
  const client = new Redis(redis.url);
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  try {
    expect(await doctor()).toMatchObject({ exitCode: 124, failed: [{ check: 'Redis eviction' }] });
  } finally {
    await client.config('SET', 'maxmemory-policy', 'noeviction');
    client.disconnect();
  }
});

test('a place for images on a disk, and keys beside which any checkpoint is thawed, are warned of', async () => {
  const warned = async (env: Record<string, string>) =>
    (await doctor(env)).findings.filter(({ status }) => status === 'warn').map(({ check }) => check);
  const usual = await warned({});
  expect(usual).not.toContain('images');
  const bad = { FLOE_IMAGES_DIR: join(folder, 'images'), FLOE_ENCRYPTION_KEY: `${'ab'.repeat(32)},plain` };
  expect(await warned(bad)).toEqual([...usual, 'images', 'encryption']);
});

test('what is not there is named, and hides nothing else', async () => {
  const env = {
    FLOE_STORE: 's3://bucket?endpoint=http://127.0.0.1:9',
    FLOE_TOOLBOX: join(folder, 'nothing'),
    FLOE_REDIS_URL: 'redis://127.0.0.1:9',
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
  };
  const { exitCode, failed, findings } = await doctor(env);
  expect(exitCode).toBe(126);
  const checks = failed.map(({ check }) => check);
  expect(checks).toEqual(
    expect.arrayContaining(['toolbox', 'CRIU', 'criu check', 'runtime process', 'store', 'Redis']),
  );
  expect(findings.find(({ check }) => check === 'kernel CHECKPOINT_RESTORE')?.status).toBe('ok');
});

test('of writers that race for a key in a folder one wins', async () => {
  await using store = await openStore(pathToFileURL(join(folder, 'raced')).href);
  const { winners, clockAheadMs } = await probeStore(store);
  expect(winners).toBe(1);
  // Files have the time of the kernel's last tick.
  expect(Math.abs(clockAheadMs ?? Number.NaN)).toBeLessThan(1000);
});
