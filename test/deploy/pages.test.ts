/** What the pages of docs/deploy say: options that exist, links that lead somewhere, a table that follows from its formula. */
import { existsSync, globSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { describe, expect, it, test } from 'vitest';
import { OPTION_LIST } from '../../jobs/config.ts';
import { deployFile, readDeployFile, whyMissing } from './files.ts';

const FILES = globSync('**/*', { cwd: deployFile('') }).filter((name) => /\.\w+$/.test(name));
const PAGES = FILES.filter((name) => name.endsWith('.md'));

it.each(FILES)('names only options that there are: %s', (name) => {
  const known = OPTION_LIST.map(({ env }) => env);
  const named = readDeployFile(name).match(/\bFLOE_[A-Z_]+/g) ?? [];
  expect(named.filter((each) => !known.includes(each))).toEqual([]);
});

it.each(PAGES)('links to what is there: %s', (name) => {
  const links = [...readDeployFile(name).matchAll(/\]\((?!https:)([^)#]+)/g)].map(([, target = '']) => target);
  expect(links.filter((target) => !existsSync(join(dirname(deployFile(name)), target)))).toEqual([]);
});

it('has a sizing table that follows from the formula', () => {
  const rows = [...readDeployFile('sizing.md').matchAll(/^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \| (\d+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(3);
  for (const row of rows) {
    const [cores = 0, gigabits = 0, rate, inTwoMinutes, inHalfAMinute] = row.slice(1).map(Number);
    const exact = Math.min(cores * 0.25, (gigabits / 8) * 3, 2);
    expect(rate, row[0]).toBeCloseTo(exact, 1);
    expect([inTwoMinutes, inHalfAMinute], row[0]).toEqual([Math.floor(exact * 110), Math.floor(exact * 20)]);
  }
});

describe('check-kernel', () => {
  const GOOD = `CHECKPOINT_RESTORE NAMESPACES UTS_NS IPC_NS PID_NS NET_NS TIME_NS FHANDLE EVENTFD EPOLL INOTIFY_USER
    UNIX_DIAG SECCOMP_FILTER INET_DIAG INET_UDP_DIAG PACKET_DIAG NETLINK_DIAG USERFAULTFD`.split(/\s+/);

  async function check(options: string[], { zip = false } = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'floe-kernel-'));
    try {
      const config = Buffer.from(options.map((name) => `CONFIG_${name}=y\n`).join(''));
      const file = join(folder, 'config');
      await writeFile(file, zip ? gzipSync(config) : config);
      const { exitCode, stdout } = await execa(deployFile('check-kernel'), [file], { reject: false });
      return { exitCode, stdout };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  it('finds a kernel good, whether its configuration is gzipped or not', async () => {
    expect(await check(GOOD)).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('can freeze') });
    expect(await check(GOOD, { zip: true })).toMatchObject({ exitCode: 0 });
  });

  it('names what is missing, and fails for what is needed', async () => {
    const without = (missing: string) => check(GOOD.filter((name) => name !== missing));
    expect(await without('CHECKPOINT_RESTORE')).toEqual({
      exitCode: 1,
      stdout: 'missing, needed: CONFIG_CHECKPOINT_RESTORE',
    });
    expect(await without('PACKET_DIAG')).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^missing: CONFIG_PACKET_DIAG/),
    });
  });

  it('says that there is nothing to read', async () => {
    expect(await execa(deployFile('check-kernel'), ['/no/such/file'], { reject: false })).toMatchObject({
      exitCode: 2,
    });
  });
});

const noShellcheck = whyMissing('shellcheck', 'shellcheck');
test.skipIf(noShellcheck)(`the scripts are sound${noShellcheck}`, async () => {
  const scripts = ['check-kernel', 'ecs/instance-user-data.sh'].map(deployFile);
  const { stdout } = await execa('shellcheck', scripts, { reject: false });
  expect(stdout).toBe('');
});
