import { once } from 'node:events';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeFolder } from './removeFolder.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-remove-'));
});

afterEach(async () => {
  await execa('rm', ['-rf', '--', directory]);
});

test('a folder whose paths are too long for the kernel is removed', async () => {
  await execa('perl', ['-e', '(mkdir "nested" and chdir "nested") or die $! for 1..3000'], { cwd: directory });
  await removeFolder(join(directory, 'nested'));
  expect(await readdir(directory)).toEqual([]);
});

test('one that is not there is no error, and one that cannot be removed is told and stays', async () => {
  await removeFolder(join(directory, 'nowhere'));
  const warned = once(process, 'warning');
  await removeFolder('/proc/self');
  expect(String(await warned)).toContain('/proc/self');
});
