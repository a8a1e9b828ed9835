/** A machine on which one job has taken all of inotify: the kernel counts instances by user, and all of Floe's jobs may be root. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-hold-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** No user of any machine, so that the test takes nothing from others. */
const USER = 1_717_171;
const INOTIFY_INIT = process.arch === 'arm64' ? 'syscall(26, 0)' : 'syscall(294, 0)';
const TAKE_ALL = `$| = 1; 1 while ${INOTIFY_INIT} >= 0; print "all are taken\\n"; sleep 60`;

/** Loads what it needs before it becomes another user, who may not read the sources. */
const FREEZER = `
  import { spawn } from 'node:child_process';
  import { chownSync, writeFileSync } from 'node:fs';
  import { once } from 'node:events';
  const { prepareHold } = await import(${JSON.stringify(new URL('hold.ts', import.meta.url).href)});
  const [directory] = process.argv.slice(1);
  chownSync(directory, ${USER}, ${USER});
  process.setgroups([]);
  process.setgid(${USER});
  process.setuid(${USER});
  const job = spawn('perl', ['-e', ${JSON.stringify(TAKE_ALL)}], { cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] });
  await once(job.stdout, 'data');
  using hold = await prepareHold(directory);
  writeFileSync(directory + '/held', '');
  await hold.held;
  console.log('frozen');
  job.kill('SIGKILL');`;

test('another job is frozen all the same', async () => {
  const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', FREEZER, directory], {
    timeout: 30_000,
  });
  expect(stdout).toBe('frozen');
});
