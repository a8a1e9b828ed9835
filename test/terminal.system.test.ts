/** What jobs, workers and stores say reaches a terminal as text, whatever it would have the terminal do. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seedJob, seedLog, seedRun, seedWorker } from '../dashboard/testing/seed.ts';
import { startRedis, type TestRedis } from './support/redis.ts';

const FLOE = fileURLToPath(new URL('../bin/floe.ts', import.meta.url));
const FREEZER = fileURLToPath(new URL('../freezer/cli.ts', import.meta.url));

/** The clipboard, the title, the cursor, 8-bit CSI, text turned around, and what makes a terminal type. */
const EVIL = '\u001b]52;c;ZXZpbA==\u0007\u001b]0;title\u001b\\\u001b[2J\u009b1;1H\u202eexe\u001b[21t\u001b[c';
/** U+009B and U+202E as a terminal gets them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about
const OBEYED = /\u001b(?!\[[0-9;:]*m)|\u0007|\u009b|\u202e/;

let redis: TestRedis;
let client: Redis;
let folder: string;
let id: string;

beforeAll(async () => {
  redis = await startRedis();
  client = new Redis(redis.url);
  folder = await mkdtemp(join(tmpdir(), 'floe-terminal-'));
  id = await seedJob(client, { command: ['sh', EVIL], name: EVIL, env: { NOTE: EVIL } });
  const failed = { type: 'attemptFailed', message: EVIL, failures: 1 } as const;
  const run = { epoch: 1, worker: EVIL, passedOver: [EVIL] };
  await seedRun(client, id, run, { state: 'running', problem: EVIL, image: EVIL }, failed);
  await seedLog(client, id, 1, `\u001b[31mred\u001b[0m ${EVIL}end\n`);
  await seedWorker(client, { name: EVIL, host: EVIL, notice: { source: EVIL, deadlineAt: null } });
});
afterAll(async () => {
  client?.disconnect();
  await redis?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const env = () => ({
  FLOE_REDIS_URL: redis.url,
  FLOE_STORE: pathToFileURL(join(folder, 'store')).href,
  FLOE_STATE_DIR: join(folder, 'state'),
});

const onTerminal = (...words: string[]) => showOnTerminal([FLOE, ...words]);

/** What a terminal gets: script(1) gives the command one of its own. */
async function showOnTerminal(words: readonly string[]): Promise<string> {
  const command = [process.execPath, ...words].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const { stdout } = await execa('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd: folder,
    env: env(),
    stdin: 'ignore',
    reject: false,
  });
  return stdout;
}

describe('on a terminal', () => {
  it.each([
    ['ls', () => ['ls']],
    ['ls --json', () => ['ls', '--json']],
    ['status', () => ['status', id]],
    ['status --json', () => ['status', id, '--json']],
    ['workers', () => ['workers']],
    ['workers --json', () => ['workers', '--json']],
    ['logs', () => ['logs', id]],
    ['logs --json', () => ['logs', id, '--json']],
    ['checkpoints', () => ['checkpoints', id]],
    ['stop-redis', () => ['stop-redis']],
    ['drain of a worker that is none', () => ['drain', EVIL]],
    ['cancel of an id that is none', () => ['cancel', EVIL]],
    ['submit of an image that is none', () => ['submit', '--image', EVIL, '--', 'x']],
    ['a command that is none', () => [EVIL]],
  ])('nothing is obeyed of %s', async (_, words) => {
    const shown = await onTerminal(...words());
    expect(shown).not.toBe('');
    expect(shown).not.toMatch(OBEYED);
  });

  it('logs keep their colours and words, and with --raw every byte', async () => {
    expect(await onTerminal('logs', id)).toContain('\u001b[31mred\u001b[0m ');
    expect(await onTerminal('logs', id)).toMatch(/exe.*end/);
    expect(await onTerminal('logs', '--raw', id)).toContain(EVIL);
  });
});

describe('freezer on a terminal', () => {
  const start = (...flags: string[]) => {
    const places = ['--store', pathToFileURL(join(folder, 'dump')).href, '--state-dir', join(folder, 'freezer')];
    const text = String.raw`\033]52;c;ZXZpbA==\007\033[31mred\033[0m\033[2J done\n`;
    return showOnTerminal([FREEZER, 'start', ...places, '--afresh', ...flags, '--', 'printf', text]);
  };

  it('shows what the program writes without anything that is obeyed, and with --raw as it is', async () => {
    const shown = await start();
    expect(shown).toContain('\u001b[31mred\u001b[0m done');
    expect(shown).not.toMatch(OBEYED);
    expect(await start('--raw')).toContain('\u001b]52;c;ZXZpbA==\u0007');
  });

  it('obeys nothing that a message quotes', async () => {
    const shown = await showOnTerminal([FREEZER, 'list', '--store', `s3://${EVIL}`]);
    expect(shown).toContain('is not a store URL');
    expect(shown).not.toMatch(OBEYED);
  });
});

it('to another program logs are each byte as it is, and JSON the same value', async () => {
  const { stdout } = await execa(process.execPath, [FLOE, 'logs', id], { env: env(), cwd: folder });
  expect(stdout).toBe(`\u001b[31mred\u001b[0m ${EVIL}end`);
  const { stdout: json } = await execa(process.execPath, [FLOE, 'status', id, '--json'], { env: env(), cwd: folder });
  expect(JSON.parse(json)).toMatchObject({ name: EVIL, spec: { command: ['sh', EVIL] } });
});
