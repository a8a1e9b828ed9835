import { link, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { diskUse } from './diskUse.ts';

const MIB = 2 ** 20;
const NEVER = new AbortController().signal;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-use-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('a file of several names counts once, a hole not at all, and what a link leads to neither', async () => {
  await mkdir(join(directory, 'new\nline'));
  const file = join(directory, 'new\nline', 'file');
  await writeFile(file, Buffer.alloc(2 * MIB, 1));
  for (const name of ['a', 'b', 'c']) await link(file, join(directory, name));
  await writeFile(join(directory, 'sparse'), '');
  await truncate(join(directory, 'sparse'), 2 ** 40);
  await symlink('/', join(directory, 'link'));
  const { bytes, files } = await diskUse(directory, NEVER);
  expect(files).toBe(8);
  expect(bytes).toBeGreaterThanOrEqual(2 * MIB);
  expect(bytes).toBeLessThan(2.5 * MIB);
});

test('one who makes files as fast as they are counted is found to have too many', async () => {
  const maker = new AbortController();
  const making = (async () => {
    for (let at = 0; !maker.signal.aborted; at++) await mkdir(join(directory, `d${at}`));
  })();
  await Promise.all(Array.from({ length: 500 }, (_, at) => mkdir(join(directory, `first${at}`))));
  const { files } = await diskUse(directory, NEVER, { bytes: MIB * 1000, files: 100 });
  maker.abort();
  await making;
  // And it is not looked for more: that need never end.
  expect(files).toBe(101);
});

test('nothing is said of what is not there', async () => {
  await expect(diskUse(join(directory, 'none'), NEVER)).rejects.toThrow('cannot be measured');
  await expect(diskUse(directory, AbortSignal.abort(new Error('over')))).rejects.toThrow('over');
});
