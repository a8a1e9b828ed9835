/** The demo as a user starts it, only smaller. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { processesNaming } from './support/processes.ts';

const DEMO = join(import.meta.dirname, '../scripts/demo/main.ts');

/** The demo makes its own folder in here, and all that it starts has the path in its environment or command line. */
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-demo-test-'));
});
afterEach(async () => {
  for (const { pid } of await processesNaming(folder)) process.kill(pid, 'SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

test('shows two jobs that are moved twice and make the bytes of undisturbed runs, and leaves nothing', async () => {
  const words = ['--size-mib', '24', '--interruptions', '2'];
  const demo = await execa(process.execPath, [DEMO, ...words], { env: { TMPDIR: folder }, reject: false });
  expect(demo.exitCode, demo.stderr).toBe(0);
  const figures: unknown = JSON.parse(demo.stdout.split('\n').at(-1) ?? '');
  const done = { state: 'succeeded', identical: true, lostSeconds: 0 };
  // The machine that has the first job is taken away; the second job may be on another.
  const jobs = [{ ...done, runs: 3 }, done];
  expect(figures).toMatchObject({ identical: true, interruptions: 2, lostSeconds: 0, jobs });
  expect(await processesNaming(folder)).toEqual([]);
  expect((await readdir(folder)).filter((name) => name.startsWith('floe-demo'))).toEqual([]);
});
