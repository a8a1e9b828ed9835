/** Secrets on their way to jobs: who gets which, and where their values must never be. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openContainerRuntime } from '../freezer/container/runtime.ts';
import type { JobSpecInput } from '../jobs/index.ts';
import { testImage } from '../test/images/testImage.ts';
import { requireEngine } from '../test/support/engine.ts';
import { defaultToolbox } from '../test/support/toolbox.ts';
import { WorkerProcess } from '../test/support/workerProcess.ts';
import { Stack, type StackOptions } from './testing/stack.ts';

const DRAIN = { kind: 'notice', source: 'test', deadlineAt: null } as const;
const IMAGES = '/dev/shm/floe';

let stack: Stack;
let secretsDirectory: string;
beforeEach(async () => {
  stack = await Stack.open();
  // Else Redis compresses what it is asked for.
  await stack.redis.config('SET', 'rdbcompression', 'no');
  secretsDirectory = join(stack.directory, 'secrets');
  for (const pool of ['default', 'other']) await mkdir(join(secretsDirectory, pool), { recursive: true });
});
afterEach(() => stack[Symbol.asyncDispose]());

const put = (name: string, value: string, pool = 'default') => writeFile(join(secretsDirectory, pool, name), value);
const sha256 = (value: string) => createHash('sha256').update(value).digest('hex');

interface RuntimeCase {
  readonly prepare: () => Promise<Partial<JobSpecInput>>;
  readonly options: StackOptions;
}

const RUNTIMES: [name: string, of: RuntimeCase][] = [
  ['process', { prepare: async () => ({}), options: {} }],
  [
    'docker',
    {
      prepare: async () => ({ image: await testImage(await requireEngine('docker'), 'debian') }),
      options: {
        encryptionKeys: [randomBytes(32).toString('hex')],
        runtime: (_, stateDirectory) =>
          openContainerRuntime({ engine: 'docker', stateDirectory, toolboxDirectory: defaultToolbox() }),
      },
    },
  ],
];

/** Everything in Redis, as bytes, with the keys. */
async function redisBytes(): Promise<string> {
  const keys = await stack.redis.keys('*');
  const dumps = await Promise.all(keys.map((key) => stack.redis.dumpBuffer(key)));
  return keys.join('\n') + Buffer.concat(dumps.filter((dump) => dump !== null)).toString('latin1');
}

/** Of every process of this machine. */
async function commandLines(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')); // it has ended meanwhile
  return (await Promise.all(lines)).join('\n');
}

const filesWith = async (text: string, folder: string) => {
  const { stdout } = await execa('grep', ['-r', '--files-with-matches', '--text', '-e', text, folder], {
    reject: false,
  });
  return stdout;
};

describe.each(RUNTIMES)('%s: a job with secrets', (name, { prepare, options }) => {
  test('has them of its file and variable after three moves, and nothing that Floe keeps or shows has a value', async () => {
    const more = await prepare();
    const values = [1, 2, 3, 4].map(() => randomUUID());
    const variable = randomUUID();
    const logged: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
    await put('token', values[0] ?? '');
    await put('password', `${variable}\n`);
    // What it has is told by a hash: its log is exact, and shows what a job prints.
    const script = `while :; do printf '%s' "$PASSWORD" | cat - /run/secrets/token | sha256sum
      while [ ! -e go ]; do sleep 0.02; done; rm go; done`;
    const id = await stack.submit({
      ...more,
      command: ['sh', '-c', script],
      secrets: ['token', { name: 'password', env: 'PASSWORD' }],
    });
    const expected = (count: number) =>
      values
        .slice(0, count)
        .map((value) => `${sha256(variable + value)}  -\n`)
        .join('');
    let worker = await stack.worker('w0', { ...options, secretsDirectory, logger });
    for (const [at, value] of values.entries()) {
      await expect.poll(() => stack.log(id), { timeout: 60_000 }).toBe(expected(at + 1));
      expect(await commandLines()).not.toMatch(new RegExp(`${value}|${variable}`));
      if (name === 'docker') {
        const { stdout: ids } = await execa('docker', [
          'ps',
          '--quiet',
          '--filter',
          `label=floe.state=${join(stack.directory, `w${at}`)}`,
        ]);
        expect(ids).not.toBe('');
        expect((await execa('docker', ['inspect', ...ids.split('\n')])).stdout).not.toMatch(
          new RegExp(`${value}|${variable}`),
        );
      }
      if (at === 3) break;
      await put('token', values[at + 1] ?? '');
      await put('password', 'not seen: the variable is frozen with the program');
      worker.notify(DRAIN);
      await worker.ended;
      await stack.until(id, { state: 'frozen' });
      worker = await stack.worker(`w${at + 1}`, { ...options, secretsDirectory, logger });
      await stack.until(id, { state: 'running' });
      await stack.letGo(`w${at + 1}`);
    }
    const secret = [...values, variable];
    const redis = await redisBytes();
    expect(redis).toContain('PASSWORD'); // the names are there
    for (const value of secret) {
      expect(redis).not.toContain(value);
      expect(logged.join('')).not.toContain(value);
    }
    // In the store and the files of runs. Chunks are compressed, but short texts can be found in them; the freezer's own test unpacks files.
    await rm(secretsDirectory, { recursive: true });
    for (const value of values) expect(await filesWith(value, stack.directory)).toBe('');
    // The program has its variables in memory, which checkpoints have in the clear where there is no key. This is documented.
    const holders = (await filesWith(variable, stack.directory)).split('\n');
    const isMemory = expect.stringContaining('/checkpoints/packs/');
    expect(holders).toEqual(options.encryptionKeys ? [''] : [isMemory, isMemory, isMemory]);
    await worker[Symbol.asyncDispose]();
    for (const value of secret) expect(await filesWith(value, IMAGES)).toBe('');
  });
});

describe('a job that wants a secret', () => {
  const waits = (problem: string) => ({ state: 'queued', problem: expect.stringContaining(problem) }) as const;
  const command = ['sh', '-c', 'cat /run/secrets/*'];

  test('waits for it, is told its name, and starts once it is there', async () => {
    await stack.worker('one', { secretsDirectory });
    const id = await stack.submit({ command, secrets: ['token'] });
    await stack.until(id, waits('The job wants the secret token, which this worker has not for the pool default.'));
    await put('token', 'there');
    await stack.until(id, { state: 'succeeded', crashes: 0, failures: 0 });
    expect(await stack.keptLog(id)).toBe('there');
  });

  test('waits on a worker that has none at all', async () => {
    await stack.worker('one');
    const id = await stack.submit({ command, secrets: ['token'] });
    await stack.until(id, waits('this worker has no secrets'));
  });

  test('does not get that of another pool, though its worker serves both', async () => {
    await put('token', 'of the other pool', 'other');
    await stack.worker('one', { secretsDirectory, pools: ['default', 'other'] });
    const id = await stack.submit({ command, secrets: ['token'] });
    await stack.until(id, waits('for the pool default'));
    const other = await stack.submit({ command, secrets: ['token'], pool: 'other' });
    await stack.until(other, { state: 'succeeded' });
  });

  test('does not get what a link in the folder leads to', async () => {
    await symlink('/etc/hostname', join(secretsDirectory, 'default/token'));
    await stack.worker('one', { secretsDirectory });
    const id = await stack.submit({ command, secrets: ['token'] });
    await stack.until(id, waits('leads out of the folder of its pool'));
  });

  test('sees those that it asked for and no other', async () => {
    for (const name of ['token', 'another']) await put(name, name);
    await stack.worker('one', { secretsDirectory });
    const id = await stack.submit({
      command: ['sh', '-c', 'ls -A /run/secrets; env | grep -c another'],
      secrets: ['token'],
    });
    await stack.until(id, { state: 'failed' });
    expect(await stack.keptLog(id)).toBe('token\n0\n');
  });
});

test('secrets of a worker that was killed are gone when the next one starts', async () => {
  const value = randomUUID();
  await put('token', value);
  const place = { directory: stack.directory, redisUrl: stack.server.url, storeUrl: stack.storeUrl };
  const settings = { runtimes: 'process', secretsDir: secretsDirectory };
  await using first = await WorkerProcess.start('first', place, settings);
  const id = await stack.submit({
    command: ['sh', '-c', 'sha256sum /run/secrets/token; exec sleep 1000'],
    secrets: ['token'],
  });
  await expect.poll(() => stack.log(id), { timeout: 60_000 }).toContain(sha256(value));
  await first.crash();
  expect(await filesWith(value, IMAGES)).not.toBe('');
  await put('token', 'another');
  await using second = await WorkerProcess.start('second', place, settings);
  await second.says('ready');
  expect(await filesWith(value, IMAGES)).toBe('');
});
