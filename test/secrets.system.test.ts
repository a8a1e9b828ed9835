/** Whoever reads logs, errors, output or the list of processes learns no password and no key. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Floe } from '../producers/index.ts';
import { startRedis, type TestRedis } from './support/redis.ts';

const FLOE = fileURLToPath(new URL('../bin/floe.ts', import.meta.url));
/** What addresses, shells and regular expressions give a meaning to. */
const ODD = String.raw`pA/s?s#w@o%r:d&"$\+`;
const KEY = 'c2VjcmV0IGtleSBvZiAzMiBieXRlcyBmb3IgYSB0ZXM=';

let redis: TestRedis;
let admin: Redis;
let folder: string;

beforeAll(async () => {
  redis = await startRedis();
  admin = new Redis(redis.url);
  folder = await mkdtemp(join(tmpdir(), 'floe-secrets-'));
  await admin.call('ACL', 'SETUSER', 'floe', 'on', `>${ODD}`, '~*', '&*', '+@all');
  // Its AUTH works, and what Floe needs does not: these errors say more than a refused AUTH.
  await admin.call('ACL', 'SETUSER', 'narrow', 'on', `>${ODD}`, '~*', '&*', '+ping', '+info');
});
afterAll(async () => {
  admin?.disconnect();
  await redis?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const address = (user: string, password: string) => `redis://${user}:${password}@127.0.0.1:${redis.port}/0`;

function environment(redisUrl: string): Record<string, string> {
  return {
    FLOE_REDIS_URL: redisUrl,
    FLOE_STORE: pathToFileURL(join(folder, 'store')).href,
    FLOE_STATE_DIR: join(folder, 'state'),
    FLOE_LOG_LEVEL: 'debug',
    FLOE_DASHBOARD_PASSWORD: ODD,
    FLOE_DASHBOARD_READ_ONLY_PASSWORD: `${ODD}-too`,
    FLOE_DASHBOARD_PORT: '0',
    FLOE_ENCRYPTION_KEY: KEY,
    FLOE_RUNTIMES: 'process',
    FLOE_NOTICE_SOURCE: 'none',
  };
}

function floe(words: readonly string[], redisUrl: string) {
  return execa(process.execPath, [FLOE, ...words], {
    cwd: folder,
    env: environment(redisUrl),
    all: true,
    reject: false,
    timeout: 60_000,
  });
}

function expectClean(text: string): void {
  const quoted = JSON.stringify(ODD).slice(1, -1);
  for (const secret of [ODD, quoted, encodeURIComponent(ODD), 's?s#w@', 'o%r:d', 's%3Fs%23w', KEY]) {
    expect(text).not.toContain(secret);
  }
}

/** The arguments of every process of this machine that began after the test did. */
async function allArguments(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')); // it may have ended
  return (await Promise.all(lines)).join('\n');
}

describe('a Redis whose password has every odd character', () => {
  it('is used by the worker and the dashboard, and nobody reads the password', async () => {
    const url = address('floe', encodeURIComponent(ODD));
    const daemons = [floe(['worker', '--name', 'secrets'], url), floe(['dashboard'], url)];
    try {
      await expect.poll(() => admin.keys('{floe}*')).not.toEqual([]);
      await expect.poll(async () => (await admin.client('LIST')) as string).toMatch(/user=floe/);
      expectClean(await allArguments());
      // Every connection is cut and refused from now on, in the middle of everything.
      await admin.call('ACL', 'SETUSER', 'floe', 'resetpass', '>another-password');
      await admin.call('CLIENT', 'KILL', 'USER', 'floe');
      await expect.poll(async () => (await admin.call('ACL', 'LOG')) as unknown[]).not.toEqual([]);
    } finally {
      await admin.call('ACL', 'SETUSER', 'floe', 'resetpass', `>${ODD}`);
      for (const daemon of daemons) daemon.kill('SIGTERM');
    }
    for (const daemon of daemons) {
      const { all } = await daemon;
      expect(all).toMatch(/WRONGPASS|refuses|Dashboard:/);
      expectClean(all);
    }
  });

  it.each([
    ['a wrong password', () => address('floe', encodeURIComponent(`${ODD}x`))],
    ['a password that is not encoded', () => address('floe', ODD)],
    [
      'a password as a parameter',
      () => `redis://127.0.0.1:${redis.port}/0?username=floe&password=${encodeURIComponent(`${ODD}x`)}`,
    ],
    ['a server that is away', () => `redis://floe:${encodeURIComponent(ODD)}@127.0.0.1:1`],
    ['a name that is none', () => `rediss://floe:${encodeURIComponent(ODD)}@host.invalid`],
    ['a socket that is none', () => `unix:///nowhere/socket?password=${encodeURIComponent(ODD)}`],
    ['another protocol', () => `http://floe:${ODD}@127.0.0.1`],
  ])('is not shown for %s', async (_, url) => {
    const commands = [['ls'], ['ls', '--json'], ['worker'], ['dashboard'], ['doctor']];
    const ended = await Promise.all(commands.map((words) => floe(words, url())));
    for (const { all, exitCode } of ended) {
      expect(exitCode).not.toBe(0);
      expectClean(all);
    }
  });

  it('is not shown where the user may do too little', async () => {
    for (const words of [['ls'], ['status', 'default-k3v9x2m4qa', '--json']]) {
      const { all, exitCode } = await floe(words, address('narrow', encodeURIComponent(ODD)));
      expect(exitCode).not.toBe(0);
      expect(all).toContain('may not run a command');
      expectClean(all);
    }
  });

  it('is not shown by `floe config`, and neither is any other secret', async () => {
    for (const words of [['config'], ['config', '--json']]) {
      const { all, exitCode } = await floe(words, address('floe', encodeURIComponent(ODD)));
      expect(exitCode).toBe(0);
      expect(all).toContain(`127.0.0.1:${redis.port}`);
      expectClean(all);
    }
  });

  it('is not in what the library throws, however deep one looks', async () => {
    const redisUrl = address('floe', encodeURIComponent(`${ODD}x`));
    const failed = await Floe.open({ redisUrl, stateDir: join(folder, 'state') }).then(
      async (floe) => {
        await floe.list();
        await floe[Symbol.asyncDispose]();
      },
      (error: unknown) => error,
    );
    expect(failed).toMatchObject({ code: 'redisRefused' });
    expectClean(inspect(failed, { depth: 20, showHidden: true }));
  });

  it('is warned of when it is given as an argument, which every user can read', async () => {
    const url = address('floe', encodeURIComponent(ODD));
    const { stderr } = await execa(process.execPath, [FLOE, 'ls', '--redis-url', url], {
      env: { FLOE_STATE_DIR: join(folder, 'state') },
    });
    expect(stderr).toMatch(/everybody on this machine can read the password in --redis-url/);
    expectClean(stderr);
  });
});
