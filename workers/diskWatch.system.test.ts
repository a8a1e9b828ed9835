/** What jobs may have by default, on file systems of other sizes than this machine's. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { DiskWatch } from './diskWatch.ts';

test('a job may have half of the files that a small file system can have, so that one cannot take them all', async () => {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'floe-disk-watch-'));
  stack.defer(() => rm(directory, { recursive: true }));
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=64m,nr_inodes=5000', 'floe-test', directory]);
  stack.defer(async () => {
    await execa('umount', [directory]);
  });
  const watch = await DiskWatch.open({ directory }, pino({ level: 'silent' }));
  expect(watch.limitsFor(undefined).files).toBe(2500);
});
