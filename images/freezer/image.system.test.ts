/** The image as its README says that it is used: a real engine, the sample program, frozen and continued. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { requireEngine } from '../../test/support/engine.ts';

const ROOT = join(import.meta.dirname, '../..');
const IMAGE = 'floe-test/freezer';
const FROZEN = 75;
/** As the README has it. */
const RIGHTS = [
  ...['--cap-add', 'SYS_ADMIN', '--cap-add', 'NET_ADMIN', '--cap-add', 'SYS_TIME', '--cap-add', 'SYS_PTRACE'],
  ...['--security-opt', 'seccomp=unconfined', '--security-opt', 'apparmor=unconfined'],
];

let dump: string;
const containers: string[] = [];

beforeAll(async () => {
  await requireEngine();
  const certificates = process.env.FLOE_BUILD_CERTIFICATES ?? '/etc/ssl/certs/ca-certificates.crt';
  await execa('docker', [
    ...['buildx', 'build', '--load', '--file', join(ROOT, 'images/Dockerfile'), '--target', 'freezer', '--tag', IMAGE],
    ...['--build-arg', 'BASE=debian:trixie-slim', '--secret', `id=certificates,src=${certificates}`, ROOT],
  ]);
}, 900_000);
beforeEach(async () => {
  dump = await mkdtemp(join(tmpdir(), 'floe-dump-'));
});
afterEach(async () => {
  for (const name of containers.splice(0)) await docker('rm', '--force', '--volumes', name);
  await rm(dump, { recursive: true, force: true });
});

const docker = (...words: string[]) => execa('docker', words, { reject: false, stripFinalNewline: false });

/** `docker run` in the background; resolves to the container's name. */
async function run(words: string[], options: string[] = []): Promise<string> {
  const name = `floe-test-freezer-${randomUUID().slice(0, 8)}`;
  containers.push(name);
  const common = ['--detach', '--name', name, '--volume', `${dump}:/dump`, '--env', 'SAMPLE_PAUSE_SECONDS=0.1'];
  await execa('docker', ['run', ...common, ...RIGHTS, ...options, IMAGE, ...words]);
  return name;
}

/** The numbers that the sample program has shown. */
async function numbers(name: string): Promise<number[]> {
  const { stdout } = await docker('logs', name);
  return stdout.split('\n').flatMap((line) => (line.includes('\t') ? [Number(line.split('\t')[1])] : []));
}

async function untilShown(name: string, count: number): Promise<void> {
  const isThere = async () => (await numbers(name)).length >= count;
  await expect.poll(isThere, { timeout: 60_000, interval: 50 }).toBe(true);
}

async function ended(name: string): Promise<number> {
  return Number((await docker('wait', name)).stdout);
}

test('the sample is frozen by exec, Ctrl-C and docker stop, and continued each time with nothing lost or repeated', async () => {
  const ways = [
    async (name: string) => {
      const { exitCode, stdout } = await docker('exec', name, 'freezer', 'freeze');
      expect([exitCode, stdout]).toEqual([0, expect.stringContaining('Frozen: checkpoint')]);
    },
    (name: string) => docker('kill', '--signal', 'INT', name),
    (name: string) => docker('stop', '--time', '60', name),
  ];
  const shown: number[] = [];
  for (const freeze of ways) {
    const name = await run(['start', 'sample']);
    await untilShown(name, 5);
    await freeze(name);
    expect([await ended(name), (await docker('logs', name)).stderr]).toEqual([
      FROZEN,
      expect.stringContaining('Frozen'),
    ]);
    shown.push(...(await numbers(name)));
  }
  const last = await run(['start', 'sample']);
  expect(await ended(last)).toBe(0);
  shown.push(...(await numbers(last)));
  expect(shown).toEqual(Array.from({ length: 101 }, (_, at) => at));
  expect((await docker('logs', last)).stderr).toMatch(/Found a checkpoint of .*, thawing/);
});

test('what is no command of freezer’s is run as it is', async () => {
  const name = await run(['sh', '-c', 'echo $0 $SAMPLE_PAUSE_SECONDS; exit 3']);
  expect(await ended(name)).toBe(3);
  expect((await docker('logs', name)).stdout).toBe('sh 0.1\n');
});

test('the program has what the image sets, none of the rights, and writes only where it moves', async () => {
  const script = 'grep CapBnd /proc/self/status; pwd; touch /etc/x /dump/x; touch /workspace/x /data/x && ls /data';
  const name = await run(
    ['start', '--volume', '/data', '--', 'sh', '-c', script],
    ['--env', 'AWS_SECRET_ACCESS_KEY=x'],
  );
  expect(await ended(name)).toBe(0);
  const { stdout, stderr } = await docker('logs', name);
  expect(stdout).toBe('CapBnd:\t0000000000000000\n/workspace\nx\n');
  expect(stderr.match(/Read-only file system/g)).toHaveLength(2);
});

test('without the rights it says which, and nothing has begun', async () => {
  const refused = await docker('run', '--rm', '--volume', `${dump}:/dump`, IMAGE, 'start', 'sample');
  expect(refused).toMatchObject({ exitCode: 126, stdout: '', stderr: expect.stringMatching(/SYS_ADMIN/) });
});
