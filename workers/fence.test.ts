import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import type { Store } from '../store/store.ts';
import { createFence, type Fence, listFences, readFences } from './fence.ts';

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

const seenBefore = async (epoch: number, since = 0) =>
  readFences(store, ID, { listed: await listFences(store, ID, epoch), since });

test('an epoch is fenced by one run only', async () => {
  expect(await createFence(store, ID, fence(3))).toBe(true);
  expect(await createFence(store, ID, fence(3, 'two'))).toBe(false);
  expect(await seenBefore(9)).toEqual([fence(3)]);
});

test('a create that is repeated because its answer was lost is still ours', async () => {
  expect(await createFence(store, ID, fence(3))).toBe(true);
  expect(await createFence(store, ID, fence(3))).toBe(true);
});

test('a run sees the fences of the runs before it, newest first, across the padding of epochs', async () => {
  for (const [epoch, thawsFrom] of [
    [2, null],
    [9, '00000002-0001'],
    [10, '00000009-0001'],
    [11, null],
    [100, null],
  ] as const)
    await createFence(store, ID, { ...fence(epoch), thawsFrom });
  expect((await seenBefore(11)).map(({ epoch }) => epoch)).toEqual([10, 9, 2]);
  expect((await seenBefore(11, 9)).map(({ epoch }) => epoch)).toEqual([10, 9]);
});

test('of a job that has begun ten thousand times those are read that its history goes back to', async () => {
  const get = vi.spyOn(store, 'getStream');
  vi.spyOn(store, 'list').mockImplementation(async function* () {
    for (let epoch = 1; epoch <= 10_000; epoch++)
      yield { key: storeKeys.fence(ID, epoch), sizeBytes: 1, modifiedAt: new Date(0) };
  });
  await createFence(store, ID, { ...fence(10_000), thawsFrom: '00000003-0001' });
  await createFence(store, ID, fence(3));
  expect((await seenBefore(10_001, 1)).map(({ epoch }) => epoch)).toEqual([10_000, 3]);
  expect(get).toHaveBeenCalledTimes(2);
});

test('what is no fence is an error, not a job without a history', async () => {
  await store.create(storeKeys.fence(ID, 1), Buffer.from('{"version":2}'));
  await expect(seenBefore(2)).rejects.toMatchObject({ code: 'damaged' });
});
