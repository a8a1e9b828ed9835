import { copyFile, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { program } from './programs.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-test-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const memory = async (...args: string[]) => execa(await program('memory'), args, { cwd: directory, reject: false });

test.for(['plain', 'random', 'threads', 'tree', 'shared'])(
  'memory %s: output does not depend on timing',
  async (mode) => {
    const slow = await memory('8', '70', mode, '--pace-ms', '2');
    const record = await readFile(join(directory, 'memory.record'));
    const fast = await memory('8', '70', mode, '--pace-ms', '0');
    expect(slow.exitCode).toBe(0);
    expect(slow.stdout.split('\n')).toHaveLength(72);
    expect(slow.stdout).toMatch(/\ndone [0-9a-f]{16}$/);
    expect(fast.stdout).toBe(slow.stdout);
    expect(await readFile(join(directory, 'memory.record'))).toEqual(record);
    expect((await readdir(directory)).sort()).toEqual(['memory.record', 'memory.state']);
  },
);

test('memory ends as told', async () => {
  expect((await memory('1', '2', '--exit', '7')).exitCode).toBe(7);
  expect((await memory('1', '2', '--die', '9')).signal).toBe('SIGKILL');
});

test('memory that is hurried sleeps no more, and has the same output', async () => {
  const hurried = execa(await program('memory'), ['1', '3', '--pace-ms', '3600000'], { cwd: directory });
  for await (const line of hurried.iterable()) if (line.startsWith('step 1 ')) hurried.kill('SIGUSR1');
  expect((await hurried).stdout).toBe((await memory('1', '3', '--pace-ms', '0')).stdout);
});

test('memory refuses what it does not know', async () => {
  expect(await memory('1', '2', 'sideways')).toMatchObject({ exitCode: 2, stdout: '' });
  expect(await memory('0', '2')).toMatchObject({ exitCode: 2, stdout: '' });
});

const rewrite = (damage: (old: Buffer) => Buffer) => async (path: string) =>
  writeFile(path, damage(await readFile(path)));
const replace = async (path: string) => {
  await copyFile(path, `${path}-copy`);
  await rename(`${path}-copy`, path);
};

test.for([
  [
    'a wrong byte in',
    'memory.state',
    rewrite((old) => Buffer.concat([old.subarray(0, 9), Buffer.from([~(old[9] ?? 0)]), old.subarray(10)])),
    'memory',
  ],
  ['a missing byte in', 'memory.record', rewrite((old) => old.subarray(0, -1)), 'memory'],
  [
    'wrong bytes in',
    'memory.record',
    rewrite((old) => Buffer.concat([old.subarray(0, -2), Buffer.from('!\n')])),
    'memory',
  ],
  ['another file in the place of', 'memory.record', replace, 'memory.record is another file than the open one$'],
] as const)('memory notices %s %s', async ([, file, damage, words]) => {
  const running = execa(await program('memory'), ['1', '1000000', '--pace-ms', '1000'], {
    cwd: directory,
    reject: false,
  });
  const lines: string[] = [];
  for await (const line of running.iterable({ preserveNewlines: false })) {
    if (line.startsWith('step 1 ')) await damage(join(directory, file));
    lines.push(line);
  }
  expect(lines.at(-1)).toMatch(new RegExp(`^CORRUPT process \\d+: step 1: ${words}`));
  expect((await running).exitCode).toBe(3);
});

test('io_uring, undumpable and capabilities say what they hold', async () => {
  expect((await execa(await program('io_uring'), { reject: false })).stdout).toMatch(/^io_uring: /);
  expect((await execa(await program('undumpable'), ['0'])).stdout).toBe('holding: secret memory\ndone');
  expect((await execa(await program('capabilities'))).stdout).toMatch(/^CapEff:\t[0-9a-f]{16}$/m);
});
