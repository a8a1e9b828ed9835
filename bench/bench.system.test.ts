/** The benchmark itself, on a small program: that it measures all there is, and leaves nothing behind. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { comparisons } from './targets.ts';

// Large enough that each dump is longer than what the program can see of it, 10 ms.
const SMALL = ['--sizes', '0.0625', '--contents', 'incompressible', '--pairs', '1'];

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-benchmark-test-'));
});
afterEach(() => rm(directory, { recursive: true }));

const bench = (...args: string[]) =>
  execa(process.execPath, [join(import.meta.dirname, 'main.ts'), ...SMALL, ...args], { reject: false });

/** Names of scratch folders that the process has now. */
async function scratchOf(owner: string): Promise<string[]> {
  const names = await Promise.all(['/dev/shm', tmpdir()].map((parent) => readdir(parent)));
  return names.flat().filter((name) => name.startsWith(`floe-bench-${owner}`));
}

test('compares everything, keeps every sample, and removes the rest', async () => {
  const out = join(directory, 'figures.json');
  const run = bench('--stores', 'file', '--out', out);
  const { exitCode, stdout, stderr } = await run;
  expect([exitCode, stderr]).toEqual([0, expect.stringContaining('pair 1 of 1')]);
  for (const { title } of comparisons) expect(stdout).toContain(`| ${title} |`);
  expect((await readdir(directory)).sort()).toEqual(['figures.json', 'figures.md']);
  expect(await scratchOf(`${run.pid}.`)).toEqual([]);
});

test('an interruption ends it and what it has started', async () => {
  const run = bench('--stores', 'file', '--pairs', '100', '--quick');
  // Of the ground, and of the memory that is kept steady.
  await expect.poll(() => scratchOf(`${run.pid}.`), { timeout: 30_000 }).toHaveLength(3);
  const children = await execa('pgrep', ['--parent', String(run.pid)], { reject: false });
  run.kill('SIGINT');
  expect((await run).exitCode).toBe(130);
  expect(await scratchOf(`${run.pid}.`)).toEqual([]);
  // An engine ends when it sees that the benchmark is gone.
  const pids = children.stdout.split('\n').filter(Boolean);
  await expect.poll(() => pids.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
});
