/** What somebody has who freezes a program with nothing but `freezer`: real programs, real CRIU, real stores. */
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type ResultPromise } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openStore } from '../store/index.ts';
import { type Ceph, startCeph } from '../store/testing/ceph.ts';
import { defaultToolbox } from '../test/support/toolbox.ts';
import { Manifest } from './checkpoint/format.ts';
import { makeClaim } from './cli/begin.ts';
import { createClaim } from './cli/claims.ts';
import { KeyRing } from './encryption/keyRing.ts';
import { signManifest } from './encryption/manifestMac.ts';
import { subKeysOf } from './encryption/seal.ts';

const FREEZER = fileURLToPath(new URL('cli.ts', import.meta.url));
const FROZEN = 75;

let directory: string;
let storeUrl: string;
const started: ResultPromise[] = [];

beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'freezer-cli-')));
  storeUrl = `file://${join(directory, 'store')}`;
});
afterEach(async () => {
  for (const process of started.splice(0)) {
    process.kill('SIGKILL');
    await process;
  }
  await rm(directory, { recursive: true, force: true });
});

const options = (env: Record<string, string> = {}) => ({
  env: { FREEZER_STATE_DIR: join(directory, 'state'), FLOE_TOOLBOX: defaultToolbox(), S3: storeUrl, ...env },
  cwd: directory,
  reject: false as const,
  stripFinalNewline: false as const,
});

/** A command that ends by itself. */
function freezer(words: string[], env?: Record<string, string>) {
  return execa(process.execPath, [FREEZER, ...words], options(env));
}

/** A `freezer start` that a test does something to. */
class Start {
  readonly process: ResultPromise<ReturnType<typeof options>>;
  stdout = '';
  stderr = '';
  #hasEnded = false;

  constructor(words: string[], env?: Record<string, string>) {
    this.process = execa(process.execPath, [FREEZER, 'start', ...words], options(env));
    this.process.stdout.on('data', (bytes) => (this.stdout += bytes));
    this.process.stderr.on('data', (bytes) => (this.stderr += bytes));
    void this.process.then(() => (this.#hasEnded = true));
    started.push(this.process as unknown as ResultPromise);
  }

  /** Resolves when the program has shown this many lines; fails when it ends before. */
  async untilLines(count: number): Promise<void> {
    await this.until(() => this.stdout.split('\n').length > count);
  }

  async untilSaid(pattern: RegExp): Promise<void> {
    await this.until(() => pattern.test(this.stderr));
  }

  async until(isSo: () => boolean): Promise<void> {
    await expect.poll(() => isSo() || this.#hasEnded, { timeout: 30_000, interval: 20 }).toBe(true);
    if (!isSo()) throw new Error(`It ended before that:\n${this.stdout}${this.stderr}`);
  }

  async ended(): Promise<number | undefined> {
    return (await this.process).exitCode;
  }
}

/** Counts on both streams, a number a line, and ends with 7. */
const counting = (until: number) => [
  '--',
  ...['sh', '-c', `i=0; while [ $i -lt ${until} ]; do echo $i; echo $i >&2; i=$((i+1)); sleep 0.05; done; exit 7`],
];
const numbers = (until: number) => Array.from({ length: until }, (_, at) => `${at}\n`).join('');
const errorNumbers = (starts: readonly Start[]) =>
  starts.flatMap(({ stderr }) => stderr.split(/(?<=\n)/).filter((line) => /^\d+\n$/.test(line))).join('');

async function checkpoints(): Promise<string[]> {
  return readdir(join(directory, 'store/checkpoints/manifests')).catch(() => []);
}

/** Freezes the program at its n-th line, with the given signal. */
async function freezeAt(start: Start, lines: number, signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
  await start.untilLines(lines);
  start.process.kill(signal);
  expect([await start.ended(), start.stderr]).toEqual([FROZEN, expect.stringContaining('Frozen: checkpoint')]);
}

describe('a program that is frozen again and again', () => {
  test('has written what it writes undisturbed, and ends as it ends by itself', async () => {
    const starts: Start[] = [];
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const start = new Start(counting(200));
      starts.push(start);
      await freezeAt(start, 8, signal);
    }
    // No command: there is a checkpoint.
    const last = new Start([]);
    starts.push(last);
    expect(await last.ended()).toBe(7);
    expect(starts.map(({ stdout }) => stdout).join('')).toBe(numbers(200));
    expect(errorNumbers(starts)).toBe(numbers(200));
    expect(starts[0]?.stderr).toMatch(/^freezer: No checkpoint found, starting sh -c /);
    expect(last.stderr).toMatch(/^freezer: Found a checkpoint of [-\d]+ [:\d]+ UTC, [\d.]+ MiB, thawing\n/);
    // Nothing is left but the word that it has ended.
    expect(await checkpoints()).toEqual([]);
    expect(await readdir(join(directory, 'state/runs'))).toEqual([]);
    const again = await freezer(['start', '--', 'echo', 'anew']);
    expect(again).toMatchObject({
      exitCode: 0,
      stdout: 'anew\n',
      stderr: expect.stringContaining('No checkpoint found'),
    });
  });

  test('keeps the newest two checkpoints, and after --keep goes back to the newest', async () => {
    for (let freeze = 0; freeze < 3; freeze++) await freezeAt(new Start(counting(200)), 3);
    expect(await checkpoints()).toEqual(['00000002-000001.json', '00000003-000001.json']);
    const { stdout: listed } = await freezer(['list']);
    expect(listed).toMatch(/^00000003-000001 .*\n00000002-000001 .*\n$/);
    const first = await freezer(['start', '--keep']);
    const second = await freezer(['start', '--keep']);
    expect(first.exitCode).toBe(7);
    expect(second.stdout).toBe(first.stdout);
    const afresh = await freezer(['start', '--afresh', ...counting(3)]);
    expect(afresh).toMatchObject({ exitCode: 7, stdout: numbers(3) });
  });

  test('is thawed lazily or eagerly, as `--thaw` says', async () => {
    await freezeAt(new Start(counting(40)), 3);
    const toolbox = join(directory, 'toolbox');
    await execa('cp', ['--archive', defaultToolbox(), toolbox]);
    await execa('cp', ['--force', '/bin/false', join(toolbox, 'bin/fill-memory')]);
    const noLazyPages = { FLOE_TOOLBOX: toolbox };
    const refused = await freezer(['start', '--thaw', 'lazy'], noLazyPages);
    expect([refused.exitCode, refused.stdout]).toEqual([120, '']);
    const eager = await freezer(['start', '--thaw', 'eager', '--keep'], noLazyPages);
    const lazy = await freezer(['start', '--thaw', 'lazy', '--keep']);
    expect([eager.exitCode, lazy.exitCode]).toEqual([7, 7]);
    expect(lazy.stdout).toBe(eager.stdout);
  });

  test('a death by signal is told as a shell does, and the exit code for a freeze can be another', async () => {
    const start = new Start(['--frozen-exit-code', '0', '--', 'sh', '-c', 'echo 1; sleep 5; kill -SEGV $$']);
    await start.untilLines(1);
    start.process.kill('SIGINT');
    expect(await start.ended()).toBe(0);
    expect((await freezer(['start'])).exitCode).toBe(128 + 11);
  });
});

describe('other commands', () => {
  test('freeze, checkpoint and status reach the running start', async () => {
    const start = new Start(counting(400));
    await start.untilLines(3);
    expect((await freezer(['status'])).stdout).toMatch(/^sh -c .*: running; no checkpoint yet\n$/);
    const taken = await freezer(['checkpoint']);
    expect(taken).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('00000001-000001 taken') });
    const shown = start.stdout.split('\n').length;
    await start.untilLines(shown + 3);
    const frozen = await freezer(['freeze']);
    expect(frozen).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('Frozen: checkpoint 00000001-000002'),
    });
    expect(await start.ended()).toBe(FROZEN);
    expect((await freezer(['status'])).exitCode).toBe(122);
  });

  test('what is not possible is one clear line and an exit code', async () => {
    const expectRefused = async (words: string[], exitCode: number, said: RegExp, env?: Record<string, string>) => {
      const found = await freezer(words, env);
      expect(found).toMatchObject({ exitCode, stdout: '', stderr: expect.stringMatching(said) });
      expect(found.stderr).toMatch(/^freezer: [^\n]+\n$/);
    };
    await expectRefused(['freeze'], 122, /No program to freeze.*freezer start/);
    await expectRefused(['start', '--bogus', 'true'], 121, /--bogus/);
    await expectRefused(['start'], 121, /No checkpoint found, and no command/);
    await expectRefused(['start', '--store', 'here', 'true'], 121, /file:\/\/\/folder or s3:/);
    await expectRefused(['start', 'true'], 126, /toolbox/, { FLOE_TOOLBOX: join(directory, 'nowhere') });
    await expectRefused(['start', 'true'], 121, /CRIU_SIGNALS: KILL/, { CRIU_SIGNALS: 'INT KILL' });
    const volume = await freezer(['start', '--volume', '/proc/1', 'true']);
    expect(volume).toMatchObject({ exitCode: 121, stderr: expect.stringContaining('/proc/1 cannot be a volume') });
  });

  test('a second start of the same name is refused while the first runs', async () => {
    const start = new Start(counting(400));
    await start.untilLines(1);
    const second = await freezer(['start', '--store', `file://${directory}/other`, 'true']);
    expect(second).toMatchObject({ exitCode: 123, stderr: expect.stringMatching(/named default is running.*--name/) });
    const named = await freezer(['start', '--store', `file://${directory}/other`, '--name', 'b', 'echo', 'b']);
    expect(named.stdout).toBe('b\n');
  });
});

describe('a second Ctrl-C', () => {
  test('gives up the freeze and ends the program, and the checkpoint before it stands', async () => {
    // Enough memory that a freeze takes a while.
    const hungry =
      'open my $f, "<", "/dev/urandom"; read $f, my $m, 3e8; $| = 1; for (1..1e6) { print "$_\\n"; select undef, undef, undef, 0.05 }';
    const start = new Start(['--', 'perl', '-e', hungry]);
    await start.untilLines(1);
    expect((await freezer(['checkpoint'])).exitCode).toBe(0);
    start.process.kill('SIGINT');
    await start.untilSaid(/Freezing/);
    start.process.kill('SIGINT');
    expect(await start.ended()).toBe(130);
    expect(start.stderr).toMatch(/given up and the program killed\. The next start continues from the checkpoint of/);
    expect(await checkpoints()).toEqual(['00000001-000001.json']);
  });

  test('a second SIGTERM, as from an impatient engine, does not', async () => {
    const start = new Start(counting(400));
    await start.untilLines(3);
    start.process.kill('SIGTERM');
    await start.untilSaid(/Freezing/);
    start.process.kill('SIGTERM');
    expect(await start.ended()).toBe(FROZEN);
  });
});

describe('a checkpoint with a key', () => {
  const key = 'ab'.repeat(32);
  const env = { FREEZER_ENCRYPTION_KEY: key };
  const other = () => `file://${join(directory, 'other')}`;

  async function freezeOne(): Promise<Start> {
    const first = new Start(counting(200), env);
    await freezeAt(first, 5);
    return first;
  }

  test('does not thaw as that of another program that has the same key: another store, another name', async () => {
    await freezeOne();
    await cp(join(directory, 'store'), join(directory, 'other'), { recursive: true });
    const stolen = await freezer(['start', '--store', other()], env);
    expect(stolen).toMatchObject({
      exitCode: 125,
      stdout: '',
      stderr: expect.stringContaining(`was written for ${storeUrl} default; this is ${other()} default`),
    });
    expect(await freezer(['start', '--name', 'another'], env)).toMatchObject({
      exitCode: 125,
      stdout: '',
      stderr: expect.stringContaining(`this is ${storeUrl} another`),
    });
    expect((await freezer(['verify', '--name', 'another'], env)).stdout).toMatch(/\(otherStore\)/);
    expect((await freezer(['verify'], env)).stdout).toMatch(/is whole/);
  });

  test('thaws where the operator says that the store has moved', async () => {
    const first = await freezeOne();
    await rename(join(directory, 'store'), join(directory, 'other'));
    const moved = new Start(['--store', other()], { FREEZER_ENCRYPTION_KEY: `${key},moved` });
    expect(await moved.ended()).toBe(7);
    expect(first.stdout + moved.stdout).toBe(numbers(200));
  });

  test('of version 3, which was bound to the key alone, thaws with that word only', async () => {
    const first = await freezeOne();
    const path = join(directory, 'store/checkpoints/manifests/00000001-000001.json');
    const { home: _, ...manifest } = Manifest.parse(JSON.parse(await readFile(path, 'utf8')));
    const { encryption } = manifest;
    if (!encryption) throw new Error('It is not encrypted.');
    const keys = subKeysOf(await KeyRing.of([key]).unwrap(encryption));
    const old = signManifest(keys.manifest, { ...manifest, version: 3, encryption }, 'checkpoints/');
    await writeFile(path, JSON.stringify(old));
    expect(await freezer(['start'], env)).toMatchObject({
      exitCode: 125,
      stderr: expect.stringContaining('add `moved` to the keys'),
    });
    const second = new Start([], { FREEZER_ENCRYPTION_KEY: `${key},moved` });
    expect(await second.ended()).toBe(7);
    expect(first.stdout + second.stdout).toBe(numbers(200));
  });

  test.each(['', ' ', 'plain', 'moved,plain'])('is asked for by %j, which has no key: nothing starts', async (keys) => {
    for (const name of ['FREEZER_ENCRYPTION_KEY', 'FREEZER_ENCRYPTION_KEY_FILE']) {
      const path = join(directory, 'key');
      await writeFile(path, keys);
      const value = name.endsWith('_FILE') ? path : keys;
      const { exitCode, stdout, stderr } = await freezer(['start', 'echo', 'ran'], { [name]: value });
      expect({ exitCode, stdout, stderr }).toEqual({
        exitCode: 121,
        stdout: '',
        stderr: expect.stringContaining('no key'),
      });
    }
  });
});

describe('checkpoints that cannot be thawed', () => {
  const spoil = (id: string) => writeFile(join(directory, `store/checkpoints/index/${id}`), 'spoilt');

  test('the one before is taken, and work is never given up silently', async () => {
    const first = new Start(counting(200));
    await freezeAt(first, 5);
    const second = new Start([]);
    await freezeAt(second, 5);
    await spoil('00000002-000001');
    const third = new Start([]);
    await freezeAt(third, 5);
    expect(third.stderr).toMatch(/thawing\n.*cannot be thawed: .*corrupt.*\n.*thawing\n/);
    // What the lost checkpoint had is written again, and nothing else.
    expect(first.stdout + third.stdout).toBe(
      numbers(first.stdout.split('\n').length + third.stdout.split('\n').length - 2),
    );
    await spoil('00000001-000001');
    await spoil('00000003-000001');
    const refused = await freezer(['start', 'echo', 'anew']);
    expect(refused).toMatchObject({
      exitCode: 125,
      stdout: '',
      stderr: expect.stringMatching(/None of the 2 .*--afresh/),
    });
    expect((await freezer(['start', '--afresh', 'echo', 'anew'])).stdout).toBe('anew\n');
  });

  test('verify tells them from those that can, and what they have lost', async () => {
    expect(await freezer(['verify'])).toMatchObject({
      exitCode: 122,
      stderr: expect.stringContaining('no checkpoint'),
    });
    const env = { FREEZER_ENCRYPTION_KEY: 'ab'.repeat(32) };
    const first = new Start(counting(200), env);
    await freezeAt(first, 5);
    expect(await freezer(['verify'], env)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^00000001-000001 is whole: \d+ chunks in \d+ packs, .*\.\n$/),
    });
    expect(await freezer(['verify'])).toMatchObject({ exitCode: 126, stdout: '' });
    await freezeAt(new Start([], env), 5);
    const [pack] = await readdir(join(directory, 'store/checkpoints/packs'));
    await rm(join(directory, 'store/checkpoints/packs', pack ?? 'none'));
    const { exitCode, stdout } = await freezer(['verify', '--all', '--json'], env);
    expect(exitCode).toBe(125);
    // The second goes on from the first and shares its packs.
    expect(JSON.parse(stdout)).toMatchObject(
      ['00000002-000001', '00000001-000001'].map((id) => ({
        id,
        damages: [`packs/${pack} is missing.`],
        hits: expect.arrayContaining([expect.stringMatching(/^memory of process \d+$/)]),
      })),
    );
  });

  test('a dump of the docker-freezer of 2016 is not taken for nothing', async () => {
    await mkdir(join(directory, 'store'));
    await writeFile(join(directory, 'store/frozen'), '');
    const refused = await freezer(['start', 'true']);
    expect(refused).toMatchObject({ exitCode: 123, stderr: expect.stringMatching(/2016.*--afresh/) });
  });
});

describe('two starts on one store', () => {
  test('the older one can take no checkpoint that the newer one would not know of', async () => {
    const older = new Start(counting(400));
    await older.untilLines(3);
    const newer = new Start(['--name', 'newer', ...counting(400)]);
    await newer.untilLines(3);
    expect(await freezer(['freeze'])).toMatchObject({ exitCode: 123, stderr: expect.stringContaining('number 2') });
    expect(await older.ended()).toBe(123);
    await freezeAt(newer, 6);
    expect(await checkpoints()).toEqual(['00000002-000001.json']);
    const next = new Start([]);
    await next.untilLines(3);
    expect(Number.parseInt(next.stdout, 10)).toBe(newer.stdout.trim().split('\n').length);
  });

  test('a checkpoint of one that was taken over meanwhile is never thawed', async () => {
    const older = new Start(counting(400));
    await freezeAt(older, 3);
    // As if another start had claimed the program a moment before that checkpoint was committed.
    await using store = await openStore(storeUrl);
    await createClaim(store, makeClaim(2, 'start', []));
    const next = await freezer(['start', 'echo', 'anew']);
    expect(next.stdout).toBe('anew\n');
  });
});

describe('what moves', () => {
  test('the workspace and volumes begin with what is there, move, and come back at the end; the rest is read-only', async () => {
    const [data, workspace] = ['/srv/freezer-test', join(directory, 'workspace')];
    try {
      for (const folder of [data, workspace]) await mkdir(folder, { recursive: true });
      await writeFile(join(data, 'input'), 'kept\n', { mode: 0o640 });
      await writeFile(
        join(workspace, 'program'),
        'echo begun >> out; echo more >> /srv/freezer-test/input; touch /srv/x; echo 1; sleep 5; cat out\n',
      );
      const words = ['--volume', data, '--workspace', workspace];
      await freezeAt(new Start([...words, '--', 'sh', 'program']), 1);
      expect(await readFile(join(data, 'input'), 'utf8')).toBe('kept\n');
      const last = await freezer(['start', ...words]);
      expect(last).toMatchObject({ exitCode: 0, stdout: 'begun\n' });
      expect(await readFile(join(data, 'input'), 'utf8')).toBe('kept\nmore\n');
      expect((await stat(join(data, 'input'))).mode & 0o777).toBe(0o640);
      expect(await readFile(join(workspace, 'out'), 'utf8')).toBe('begun\n');
    } finally {
      await rm(data, { recursive: true, force: true });
    }
  });

  test('nothing that the program left runs any more when its workspace is copied back', async () => {
    const [workspace, seen] = [join(directory, 'workspace'), join(directory, 'seen')];
    await mkdir(workspace);
    // In the place of the machine's own: it looks at who runs before it copies.
    const cp = `#!/bin/sh\ngrep -lsa MARK=left-running /proc/[0-9]*/environ >> ${seen}; exec /bin/cp "$@"\n`;
    await writeFile(join(directory, 'cp'), cp, { mode: 0o755 });
    const words = ['-e', 'MARK=left-running', '--workspace', workspace, '--', 'sh', '-c', 'sleep 1000 & echo > out'];
    const start = await freezer(['start', ...words], { PATH: `${directory}:${process.env.PATH}` });
    expect(start).toMatchObject({ exitCode: 0 });
    expect(await readdir(workspace)).toEqual(['out']);
    expect(await readFile(seen, 'utf8')).toBe('');
  });

  test('what cannot be copied back when the program has ended is kept, and so are its checkpoints', async () => {
    const workspace = join(directory, 'workspace');
    await mkdir(workspace);
    const words = ['--workspace', workspace, '--'];
    await freezeAt(new Start([...words, 'sh', '-c', 'echo 1; sleep 5; mkdir out; echo 42 > out/answer']), 1);
    await writeFile(join(workspace, 'out'), 'in the way');
    const last = await freezer(['start', ...words]);
    expect(last).toMatchObject({ exitCode: 126, stderr: expect.stringMatching(/copied back.* kept in .*cp: /) });
    // Starts sweep what dead ones have left behind.
    expect((await freezer(['start', '--store', `file://${directory}/other`, 'true'])).exitCode).toBe(0);
    const results = /kept in ([^ :]+): /.exec(last.stderr)?.[1] ?? '';
    expect(await readFile(join(results, 'workspace/out/answer'), 'utf8')).toBe('42\n');
    expect(await checkpoints()).toEqual(['00000001-000001.json']);
  });

  test('a Ctrl-C while files are copied back changes nothing', async () => {
    const workspace = join(directory, 'workspace');
    await mkdir(workspace);
    // In the place of the machine's own: it lets the freeze that comes too late fail before it copies.
    const cp = '#!/bin/sh\ncase "$*" in *--remove-destination*) kill -INT $PPID; sleep 1;; esac; exec /bin/cp "$@"\n';
    await writeFile(join(directory, 'cp'), cp, { mode: 0o755 });
    const words = ['--workspace', workspace, '--', 'sh', '-c', 'echo 42 > out'];
    const start = await freezer(['start', ...words], { PATH: `${directory}:${process.env.PATH}` });
    expect(start).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(/Freezing\n$/) });
    expect(await readFile(join(workspace, 'out'), 'utf8')).toBe('42\n');
  });

  test('the environment goes along, but for the credentials', async () => {
    const { stdout } = await freezer(['start', '-e', 'C=3', '--', 'env'], { A: '1', AWS_SECRET_ACCESS_KEY: 'secret' });
    expect(stdout).toMatch(/^A=1$/m);
    expect(stdout).toMatch(/^C=3$/m);
    expect(stdout).not.toMatch(/secret|FREEZER_|S3=/);
  });
});

describe('on S3', () => {
  let ceph: Ceph;
  beforeAll(async () => {
    ceph = await startCeph();
  });
  afterAll(() => ceph?.[Symbol.asyncDispose]());
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test('three moves, with S3 in the environment as with the docker-freezer of 2016', async () => {
    const env = { ...ceph.environment, AWS_ENDPOINT_URL_S3: ceph.endpoint, S3: `s3://${await ceph.createBucket()}/a/` };
    const starts: Start[] = [];
    for (let move = 0; move < 3; move++) {
      const start = new Start(counting(200), env);
      starts.push(start);
      await freezeAt(start, 5);
    }
    const last = new Start([], env);
    starts.push(last);
    expect(await last.ended()).toBe(7);
    expect(starts.map(({ stdout }) => stdout).join('')).toBe(numbers(200));
  });

  test('what was frozen with a key does not thaw in another bucket, or below another prefix', async () => {
    const [bucket, other] = [await ceph.createBucket(), await ceph.createBucket()];
    const env = {
      ...ceph.environment,
      AWS_ENDPOINT_URL_S3: ceph.endpoint,
      FREEZER_ENCRYPTION_KEY: 'ab'.repeat(32),
    };
    const home = `s3://${bucket}/a`;
    await freezeAt(new Start(counting(200), { ...env, S3: home }), 5);
    for (const [name, value] of Object.entries(ceph.environment)) vi.stubEnv(name, value);
    vi.stubEnv('AWS_ENDPOINT_URL_S3', ceph.endpoint);
    await using from = await openStore(home);
    for (const elsewhere of [`s3://${other}/a`, `s3://${bucket}/b`]) {
      await using to = await openStore(elsewhere);
      for await (const { key } of from.list('')) await to.create(key, await from.get(key));
      expect(await freezer(['start'], { ...env, S3: elsewhere })).toMatchObject({
        exitCode: 125,
        stdout: '',
        stderr: expect.stringContaining(`was written for ${home} default; this is ${elsewhere} default`),
      });
    }
    const last = new Start([], { ...env, S3: `${home}/` });
    expect(await last.ended()).toBe(7);
  });
});
