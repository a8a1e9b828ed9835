/** What a user gets wrong around a worker and a store: one clear line, an exit code. (All else: producers/cli.system.test.ts.) */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Ceph, startCeph } from '../store/testing/ceph.ts';
import { Cluster } from './support/cluster.ts';
import { freePort, startRedis } from './support/redis.ts';

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph();
});
afterAll(() => ceph?.[Symbol.asyncDispose]());

let cluster: Cluster;
beforeEach(async () => {
  const storeUrl = ceph.storeUrl(await ceph.createBucket());
  cluster = await Cluster.open({ storeUrl, environment: ceph.environment });
});
afterEach(() => cluster[Symbol.asyncDispose]());

const WRONG_KEY = { AWS_SECRET_ACCESS_KEY: 'not-the-right-one' };

/** One line for people, and nobody has joined the fleet. */
async function expectRefused(words: string[], exitCode: number, said: RegExp, env: Record<string, string> = {}) {
  const found = await cluster.cliWith(env, ...words);
  expect(found).toMatchObject({ exitCode, stdout: '', stderr: expect.stringMatching(said) });
  expect(found.stderr).toMatch(/^floe: [^\n]+$/);
  expect(await cluster.floe.workers()).toEqual([]);
  return found.stderr;
}

test('a worker without a toolbox', async () => {
  const nowhere = join(cluster.directory, 'nowhere');
  await expectRefused(['worker', '--toolbox', nowhere], 126, /nowhere.*scripts\/setup/s);
});

test('a worker without bubblewrap', async () => {
  const env = { PATH: join(cluster.directory, 'nowhere') };
  await expectRefused(['worker'], 126, /bubblewrap.*Install the package bubblewrap/, env);
});

test('a worker whose store does not accept the credentials, which are not shown', async () => {
  const said = await expectRefused(['worker'], 125, /credentials are not accepted.*AWS_SECRET_ACCESS_KEY/, WRONG_KEY);
  expect(said).not.toContain(WRONG_KEY.AWS_SECRET_ACCESS_KEY);
});

test('a worker whose bucket is not there, or whose store does not answer', async () => {
  await expectRefused(['worker', '--store', ceph.storeUrl('no-such-bucket')], 125, /no such bucket/i);
  const dead = `s3://bucket/?endpoint=${encodeURIComponent(`http://127.0.0.1:${await freePort()}`)}&region=x`;
  await expectRefused(['worker', '--store', dead], 125, /no answer.*endpoint/i);
});

test('a worker whose Redis does not answer, or wants another password', async () => {
  const port = await freePort();
  await expectRefused(
    ['worker', '--redis-url', `redis://127.0.0.1:${port}`],
    124,
    new RegExp(`127\\.0\\.0\\.1:${port}`),
  );
  await using guarded = await startRedis({ password: 'right' });
  const env = { FLOE_REDIS_URL: guarded.url.replace('right', 'wrong') };
  await expectRefused(['worker'], 124, /refuses the connection/, env);
});

test('a job whose workspace the store does not take is not there', async () => {
  const workspace = join(cluster.directory, 'workspace');
  await mkdir(workspace);
  await writeFile(join(workspace, 'input'), 'x');
  await expectRefused(['submit', '--workspace', workspace, '--', 'true'], 125, /credentials/, WRONG_KEY);
  expect(await cluster.floe.list()).toEqual([]);
  expect(await Array.fromAsync(cluster.store.list('jobs/'))).toEqual([]);
});

test('a program that is not there ends as in a shell, and says so in its log', async () => {
  await cluster.worker('one');
  const found = await cluster.cli('submit', '--wait', '--', 'no-such-program');
  expect(found.exitCode).toBe(127);
  const [job] = await cluster.floe.list();
  expect(await cluster.log(job?.id ?? '', 'stderr')).toContain('no-such-program');
});
