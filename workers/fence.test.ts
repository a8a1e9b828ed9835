import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import type { Store } from '../store/store.ts';
import { createFence, type Fence, readFences } from './fence.ts';

const ID = 'default-abcdefghij';
const fence = (epoch: number, worker = 'one'): Fence => ({ version: 1, epoch, worker, thawsFrom: null, at: 1000 });

let directory: string;
let store: Store;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-fence-'));
  store = await openStore(`file://${directory}`);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

test('an epoch is fenced by one run only', async () => {
  expect(await createFence(store, ID, fence(3))).toBe(true);
  expect(await createFence(store, ID, fence(3, 'two'))).toBe(false);
  expect(await readFences(store, ID, 9)).toEqual([fence(3)]);
});

test('a create that is repeated because its answer was lost is still ours', async () => {
  expect(await createFence(store, ID, fence(3))).toBe(true);
  expect(await createFence(store, ID, fence(3))).toBe(true);
});

test('a run sees the fences of the runs before it, newest first, across the padding of epochs', async () => {
  for (const epoch of [2, 10, 100, 9, 11]) await createFence(store, ID, fence(epoch));
  const seen = await readFences(store, ID, 11);
  expect(seen.map(({ epoch }) => epoch)).toEqual([10, 9, 2]);
});

test('what is no fence is an error, not a job without a history', async () => {
  await store.create(storeKeys.fence(ID, 1), Buffer.from('{"version":2}'));
  await expect(readFences(store, ID, 2)).rejects.toMatchObject({ code: 'damaged' });
});
