import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { enoughWatches } from './epollWatches.ts';
import { Stack } from './testing/stack.ts';

const LIMIT_FILE = '/proc/sys/fs/epoll/max_user_watches';

let stack: Stack;
let before: string;
beforeEach(async () => {
  stack = await Stack.open();
  before = await readFile(LIMIT_FILE, 'utf8');
  // Still more than the kernel's own, so that nobody else on the machine comes to it.
  await writeFile(LIMIT_FILE, String(Math.floor(enoughWatches() / 2)));
});
afterEach(async () => {
  await writeFile(LIMIT_FILE, before);
  await stack[Symbol.asyncDispose]();
});

test('no job can use up what epoll may watch for root: it has no memory for so many', async () => {
  await stack.worker('one');
  const most = Number(await readFile(LIMIT_FILE, 'utf8'));
  const memoryBytes = Number(/^MemTotal:\s+(\d+)/.exec(await readFile('/proc/meminfo', 'utf8'))?.[1]) * 1024;
  expect(most * 128).toBeGreaterThanOrEqual(memoryBytes);
});
