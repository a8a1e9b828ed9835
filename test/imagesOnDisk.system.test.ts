/** Where there is an encryption key, no memory of a job gets to a disk, or into a folder of somebody else's, that nobody has named. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { requireEngine } from './support/engine.ts';
import { startRedis, type TestRedis } from './support/redis.ts';
import { defaultToolbox } from './support/toolbox.ts';

const FLOE = fileURLToPath(new URL('../bin/floe.ts', import.meta.url));
const FREEZER = fileURLToPath(new URL('../freezer/cli.ts', import.meta.url));
const KEY = 'ab'.repeat(32);

let redis: TestRedis;
let directory: string;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis[Symbol.asyncDispose]());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-disk-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** What somebody may have done before Floe started, in a /dev/shm that the command has to itself. */
const PREPARED = {
  'a folder that anybody can write to': 'mount -t tmpfs tmpfs /dev/shm && mkdir -m 777 /dev/shm/floe',
  "somebody else's folder": 'mount -t tmpfs tmpfs /dev/shm && mkdir -m 700 /dev/shm/floe && chown 65534 /dev/shm/floe',
  "a link to somebody else's folder":
    'mount -t tmpfs tmpfs /dev/shm && mkdir -m 777 /dev/shm/else && ln -s else /dev/shm/floe',
  'too little room': 'mount -t tmpfs -o size=64m tmpfs /dev/shm',
};

function run(prepare: string, command: string[], env: Record<string, string>) {
  const state = join(directory, 'state');
  const places = { FLOE_STATE_DIR: state, FREEZER_STATE_DIR: state, FLOE_TOOLBOX: defaultToolbox() };
  const stores = {
    FLOE_REDIS_URL: redis.url,
    FLOE_STORE: `file://${directory}/store`,
    S3: `file://${directory}/store`,
  };
  const script = ['-c', `${prepare} && exec "$@"`, 'sh', process.execPath, ...command];
  const running = execa('unshare', ['--mount', 'sh', ...script], {
    env: { ...places, ...stores, ...env },
    reject: false,
  });
  onTestFinished(() => void running.kill('SIGKILL'));
  return running;
}

const start = [FREEZER, 'start', '--', 'true'];
const isKeptOnDisk = () => existsSync(join(directory, 'state/images'));

describe.each(Object.entries(PREPARED))('with %s in the place for images', (_, prepare) => {
  test('a program is not started where there is a key, and is, with a warning, where there is none', async () => {
    const refused = await run(prepare, start, { FREEZER_ENCRYPTION_KEY: KEY });
    expect(refused).toMatchObject({
      exitCode: 126,
      stderr: expect.stringMatching(/\/dev\/shm\/floe.*FLOE_IMAGES_DIR/),
    });
    expect(isKeptOnDisk()).toBe(false);
    const warned = await run(prepare, start, {});
    expect(warned).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(/\/dev\/shm\/floe.*on a disk/) });
    expect(isKeptOnDisk()).toBe(true);
  });
});

test('who names a place on a disk has it there, with a key too', async () => {
  const env = { FREEZER_ENCRYPTION_KEY: KEY, FLOE_IMAGES_DIR: join(directory, 'images') };
  const { exitCode, stderr } = await run(PREPARED['too little room'], start, env);
  expect([exitCode, stderr]).toEqual([0, expect.stringContaining('on a disk')]);
});

test('where there is a key, an engine that sees another /dev/shm has no container for jobs', async () => {
  await requireEngine();
  const dockerOf = async (env: Record<string, string>) => {
    const { stdout, stderr } = await run('mount -t tmpfs tmpfs /dev/shm', [FLOE, 'doctor', '--json'], env);
    const findings: { check: string; status: string }[] = JSON.parse(stdout);
    return { status: findings.find(({ check }) => check === 'runtime docker')?.status, stderr };
  };
  const env = { FLOE_RUNTIMES: 'docker' };
  expect(await dockerOf({ ...env, FLOE_ENCRYPTION_KEY: KEY })).toEqual({ status: 'fail', stderr: '' });
  expect(await dockerOf(env)).toEqual({ status: 'ok', stderr: expect.stringMatching(/does not see.*on a disk/) });
});

test('a worker does not join the fleet, and the doctor says why', async () => {
  const env = { FLOE_ENCRYPTION_KEY: KEY };
  const prepare = PREPARED["somebody else's folder"];
  const worker = await run(prepare, [FLOE, 'worker'], env);
  expect(worker).toMatchObject({
    exitCode: 126,
    stderr: expect.stringContaining('does not belong to this user alone'),
  });
  const doctor = await run(prepare, [FLOE, 'doctor', '--json'], env);
  expect(doctor.exitCode).toBe(126);
  expect(JSON.parse(doctor.stdout)).toContainEqual(
    expect.objectContaining({ check: 'images', status: 'fail', remedy: expect.stringContaining('Remove it.') }),
  );
});
