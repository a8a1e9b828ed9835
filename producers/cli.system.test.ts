import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freePort, startRedis, type TestRedis } from '../test/support/redis.ts';
import { type StandInRun, startStandInWorker } from '../test/support/standInWorker.ts';

const FLOE = fileURLToPath(new URL('../bin/floe.ts', import.meta.url));

let redis: TestRedis;
let client: Redis;
let folder: string;
let store: string;

beforeAll(async () => {
  redis = await startRedis();
  client = new Redis(redis.url);
  folder = await mkdtemp(join(tmpdir(), 'floe-cli-'));
  store = pathToFileURL(join(folder, 'store')).href;
});
afterAll(async () => {
  client.disconnect();
  await redis[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => client.flushall());

/** An undefined variable is left out. */
type Environment = Record<string, string | undefined>;

function start(words: string[], env: Environment = {}) {
  return execa(process.execPath, [FLOE, ...words], {
    cwd: folder,
    env: { FLOE_REDIS_URL: redis.url, FLOE_STORE: store, FLOE_STATE_DIR: join(folder, 'state'), ...env },
    reject: false,
  });
}

async function floe(words: string[], env: Environment = {}) {
  const { exitCode, stdout, stderr } = await start(words, env);
  return { exitCode, stdout, stderr };
}

const work = (run: (run: StandInRun) => Promise<void>) => startStandInWorker({ redisUrl: redis.url, store, run });

describe('the life of a job', () => {
  it('is submitted with a workspace, runs, ends with its own exit code, and hands over its outputs', async () => {
    const made = join(folder, 'made');
    await mkdir(made);
    await writeFile(join(made, 'answer.txt'), '42');
    const submitted = await floe([
      'submit',
      '--workspace',
      made,
      '--env',
      'A=b=c',
      '--timeout',
      '1h30m',
      '--',
      'sh',
      '-c',
      'x',
    ]);
    expect(submitted).toMatchObject({ exitCode: 0, stderr: '' });
    const id = submitted.stdout;
    const view = JSON.parse((await floe(['status', id, '--json'])).stdout);
    expect(view.spec).toMatchObject({ command: ['sh', '-c', 'x'], env: { A: 'b=c' }, timeoutMs: 5_400_000 });
    expect(JSON.parse((await floe(['ls', '--json', '--state', 'queued'])).stdout)).toMatchObject([{ id, name: 'sh' }]);
    await using _worker = await work(async (run) => {
      await run.print('stdout', 'to stdout\n');
      await run.print('stderr', 'to stderr\n');
      await run.end({ outcome: 'failed', end: { exitCode: 7, signal: null }, outputs: made });
    });
    expect(await floe(['wait', id])).toMatchObject({ exitCode: 7, stderr: `${id} failed: exit code 7` });
    expect(await floe(['logs', '-f', id])).toEqual({ exitCode: 0, stdout: 'to stdout', stderr: 'to stderr' });
    const pieces = (await floe(['logs', id, '--json'])).stdout.split('\n').map((line) => JSON.parse(line));
    expect(pieces).toMatchObject([
      { stream: 'stdout', offsetBytes: 0, text: 'to stdout\n' },
      { stream: 'stderr', text: 'to stderr\n' },
    ]);
    expect(await floe(['fetch', id, 'results'])).toMatchObject({ exitCode: 0 });
    expect(await readFile(join(folder, 'results', 'answer.txt'), 'utf8')).toBe('42');
    expect((await floe(['status', id])).stdout).toMatch(/state +failed\nend +failed: exit code 7/);
  });

  it('gives 128 + signal after a death by signal, and the result as JSON', async () => {
    await using _worker = await work((run) => run.end({ outcome: 'failed', end: { exitCode: null, signal: 9 } }));
    const waited = await floe(['submit', '--json', '--wait', '--', 'x']);
    expect(waited.exitCode).toBe(137);
    expect(JSON.parse(waited.stdout)).toMatchObject({ outcome: 'failed', end: { exitCode: null, signal: 9 } });
  });

  it('is cancelled while it waits, once', async () => {
    const { stdout: id } = await floe(['submit', '--', 'x']);
    expect(await floe(['cancel', id])).toMatchObject({ exitCode: 0, stdout: `${id} is cancelled.` });
    expect(await floe(['wait', id])).toMatchObject({ exitCode: 1 });
    expect(await floe(['cancel', id])).toMatchObject({
      exitCode: 123,
      stderr: expect.stringContaining('ended already'),
    });
  });

  it('is not touched by Ctrl-C on a command that follows it', async () => {
    const { stdout: id } = await floe(['submit', '--', 'x']);
    const started = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    await using _worker = await work(async (run) => {
      await run.print('stdout', 'line\n');
      started.resolve();
      await finish.promise;
      await run.end({ outcome: 'succeeded', end: { exitCode: 0, signal: null } });
    });
    await started.promise;
    const logs = start(['logs', '-f', id]);
    await once(logs.stdout, 'data');
    logs.kill('SIGINT');
    expect(await logs).toMatchObject({ exitCode: 130, stdout: 'line', stderr: expect.stringContaining('not touched') });
    expect(JSON.parse((await floe(['status', id, '--json'])).stdout).state).toBe('running');
    finish.resolve();
    expect(await floe(['wait', id])).toMatchObject({ exitCode: 0 });
  });

  it('is read from a file, and flags win over that', async () => {
    await writeFile(
      join(folder, 'job.yaml'),
      'command: [xz, -9]\npriority: 3\nenv: {A: "1", B: "2"}\nworkspace: here\n',
    );
    await mkdir(join(folder, 'here'));
    const { stdout: id, stderr } = await floe(['submit', '-f', 'job.yaml', '--priority', '9', '--env', 'B=3']);
    expect(stderr).toBe('');
    const { spec, input } = JSON.parse((await floe(['status', id, '--json'])).stdout);
    expect(spec).toMatchObject({ command: ['xz', '-9'], priority: 9, env: { A: '1', B: '3' } });
    expect(input).not.toBeNull();
  });
});

describe('bad input gets one line and its exit code, and nothing half-done', () => {
  const unknown = 'default-aaaaaaaaaa';
  const cases: [string, string[], number, RegExp][] = [
    ['no command', ['submit'], 121, /command: .*got nothing/],
    ['priority out of range', ['submit', '--priority', '5000', '--', 'x'], 121, /priority: .*5000/],
    ['a duration that is none', ['submit', '--timeout', 'soon', '--', 'x'], 121, /--timeout: .*"soon"/],
    ['an output outside', ['submit', '-o', '../x', '--', 'x'], 121, /outputs\.0: .*inside the workspace.*"\.\.\/x"/],
    ['a pool that cannot be', ['submit', '--pool', 'No!', '--', 'x'], 121, /pool: .*"No!"/],
    ['no such file', ['submit', '-f', 'nowhere.yaml'], 121, /nowhere\.yaml: .*ENOENT/],
    ['no such workspace', ['submit', '-w', 'nowhere', '--', 'x'], 121, /workspace: .*"nowhere"/],
    ['an unknown flag', ['ls', '--sort'], 121, /unknown option '--sort'/i],
    ['an unknown command', ['sbmit'], 121, /unknown command 'sbmit'.*submit/i],
    ['a missing id', ['status'], 121, /missing required argument 'id'/i],
    ['a state that is none', ['ls', '--state', 'lost'], 121, /--state: .*queued.*"lost"/],
    ['an unknown id', ['status', unknown], 122, /no job "default-aaaaaaaaaa"/],
    ['an id that cannot be', ['logs', 'x'], 122, /no job "x"/],
    ['an unknown id to wait for', ['wait', unknown], 122, /no job/],
    ['an unknown worker', ['drain', 'nobody'], 122, /no worker "nobody"/],
    ['an unreachable Redis', ['ls', '--redis-url', 'redis://127.0.0.1:1'], 124, /127\.0\.0\.1:1 cannot be reached/],
    ['a Redis URL that is none', ['ls', '--redis-url', 'localhost'], 121, /--redis-url: .*"localhost"/],
    ['a store URL that is none', ['ls', '--store', 'ftp://x'], 121, /--store: .*"ftp:\/\/x"/],
  ];
  it.each(cases)('%s', async (_, words, exitCode, message) => {
    const plain = await floe(words);
    expect(plain).toMatchObject({ exitCode, stdout: '', stderr: expect.stringMatching(message) });
    expect(plain.stderr).toMatch(/^floe: [^\n]+$/);
    const json = await floe([words[0] ?? '', '--json', ...words.slice(1)]);
    expect(json).toMatchObject({ exitCode, stdout: '' });
    expect(JSON.parse(json.stderr).error).toMatchObject({
      code: expect.any(String),
      message: expect.stringMatching(message),
    });
    expect(await client.keys('*')).toEqual([]);
  });

  it('a bad value in the environment', async () => {
    const found = await floe(['ls'], { FLOE_SLOTS: 'x' });
    expect(found).toMatchObject({
      exitCode: 121,
      stderr: expect.stringContaining('FLOE_SLOTS: must be an integer from 1 to 1000, got "x"'),
    });
  });

  it('a wrong password, which is not shown', async () => {
    await using guarded = await startRedis({ password: 'right' });
    for (const credentials of [':wrong-one@', '']) {
      const found = await floe(['ls'], { FLOE_REDIS_URL: guarded.url.replace(':right@', credentials) });
      expect(found).toMatchObject({ exitCode: 124, stderr: expect.stringMatching(/refuses the connection/) });
      expect(found.stderr).not.toContain('wrong-one');
    }
  });

  it('a store that cannot be reached', async () => {
    await writeFile(join(folder, 'not-a-folder'), '');
    await mkdir(join(folder, 'full'), { recursive: true });
    await writeFile(join(folder, 'full', 'file'), 'x');
    const blocked = pathToFileURL(join(folder, 'not-a-folder')).href;
    const found = await floe(['submit', '--store', blocked, '-w', 'full', '--', 'x']);
    expect(found).toMatchObject({ exitCode: 125, stdout: '', stderr: expect.stringMatching(/^floe: [^\n]+$/) });
    const s3 = `s3://bucket/floe`;
    const port = await freePort();
    const env = {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: 'a',
      AWS_SECRET_ACCESS_KEY: 'b',
      AWS_REGION: 'x',
    };
    expect(await floe(['submit', '--store', s3, '-w', 'full', '--', 'x'], env)).toMatchObject({ exitCode: 125 });
    expect(await client.keys('*')).toEqual([]);
  });
});

describe('every command', () => {
  it('has help with examples and exit codes', async () => {
    const { stdout } = await floe(['--help']);
    const commands = [...stdout.matchAll(/^ {2}([a-z-]+) \[options\]/gm)].map(([, name]) => name ?? '');
    expect(commands).toEqual(
      expect.arrayContaining(['submit', 'ls', 'status', 'logs', 'wait', 'cancel', 'worker', 'dashboard']),
    );
    const helps = await Promise.all(commands.map((name) => floe([name, '--help'])));
    for (const help of helps) {
      expect(help).toMatchObject({
        exitCode: 0,
        stderr: '',
        stdout: expect.stringMatching(/--json.*Examples:\n {2}\$ .*Exit codes:/s),
      });
    }
  });

  it('is quiet when its reader has had enough', async () => {
    for (let count = 0; count < 3; count += 1) await floe(['submit', '--', 'x']);
    const piped = start(['ls', '--json']);
    piped.stdout.destroy();
    expect(await piped).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

describe('without a configured Redis', () => {
  it('starts one that keeps the jobs, and ends it on request', async () => {
    const state = join(folder, 'embedded');
    const env = { FLOE_REDIS_URL: undefined, FLOE_STORE: undefined, FLOE_STATE_DIR: state };
    const ids = await Promise.all([1, 2, 3].map(async () => (await floe(['submit', '--', 'x'], env)).stdout));
    try {
      expect(await floe(['stop-redis'], env)).toMatchObject({ exitCode: 0, stdout: 'Stopped.' });
      const listed = JSON.parse((await floe(['ls', '--json'], env)).stdout).map((job: { id: string }) => job.id);
      expect(listed.sort()).toEqual(ids.sort());
    } finally {
      await floe(['stop-redis'], env);
    }
  });

  it('says what to install where there is none', async () => {
    const found = await floe(['ls'], { FLOE_REDIS_URL: undefined, FLOE_STATE_DIR: join(folder, 'x'.repeat(120)) });
    expect(found).toMatchObject({ exitCode: 121, stderr: expect.stringContaining('FLOE_STATE_DIR') });
  });
});
