/** Which checkpoints stay while a job lives, and what a run may remove. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CheckpointSummary } from '../freezer/runtime.ts';
import { writeCheckpoint } from '../freezer/testing/writeCheckpoint.ts';
import { storeKeys } from '../jobs/index.ts';
import { openStore, type Store, StoreError } from '../store/index.ts';
import { alteredStore } from '../store/testing/altered.ts';
import { createFence } from './fence.ts';
import { keptOf, Retention } from './retention.ts';

describe('keptOf', () => {
  const cases: [
    string,
    { history: string; thawedFrom: string | null; buildsOn?: string; keep: number; kept: string },
  ][] = [
    ['the newest of its own', { history: '33 32 31 21', thawedFrom: '21', keep: 2, kept: '33 32' }],
    ['its own first, then what it was thawed from', { history: '31 22 21', thawedFrom: '22', keep: 2, kept: '31 22' }],
    ['what it was thawed from and the one before', { history: '22 21 11', thawedFrom: '22', keep: 2, kept: '22 21' }],
    ['what it was thawed from, with only one to keep', { history: '22 21', thawedFrom: '22', keep: 1, kept: '22' }],
    ['its own alone, with only one to keep', { history: '31 22', thawedFrom: '22', keep: 1, kept: '31' }],
    ['those that it passed over, while it has none', { history: '22 21 11', thawedFrom: '21', keep: 1, kept: '22 21' }],
    ['not those once it has one', { history: '31 22 21 11', thawedFrom: '21', keep: 2, kept: '31 21' }],
    ['all that it passed over to start afresh', { history: '22 21', thawedFrom: null, keep: 1, kept: '22 21' }],
    ['none of those once it has one', { history: '31 22 21', thawedFrom: null, keep: 2, kept: '31' }],
    ['all, when there are fewer than may be kept', { history: '31 21', thawedFrom: '21', keep: 9, kept: '31 21' }],
    ['what its next one builds on', { history: '32 31 21', thawedFrom: '21', buildsOn: '31', keep: 1, kept: '32 31' }],
    ['that of another run', { history: '31 21 11', thawedFrom: '21', buildsOn: '21', keep: 1, kept: '31 21' }],
    ['all since then', { history: '34 33 32 31', thawedFrom: null, buildsOn: '32', keep: 1, kept: '34 33 32' }],
    ['none where there is none', { history: '', thawedFrom: null, keep: 2, kept: '' }],
    ['by order, where what it was thawed from is gone', { history: '21 11', thawedFrom: '29', keep: 1, kept: '21' }],
  ];
  test.each(cases)('keeps %s', (_, { history, kept, ...run }) => {
    const words = (text: string) => text.split(' ').filter(Boolean);
    const buildsOn = run.buildsOn ?? words(history).find((id) => id.startsWith('3')) ?? run.thawedFrom;
    const found = words(history).map((id) => ({ id, epoch: Number(id[0]) }) as CheckpointSummary);
    expect(keptOf(found, { ...run, buildsOn, epoch: 3 })).toEqual(words(kept));
  });
});

describe('Retention', () => {
  const JOB = 'default-aaaaaaaaaa';
  const PREFIX = storeKeys.checkpoints(JOB);
  let directory: string;
  let store: Store;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'floe-retention-'));
    store = await openStore(`file://${directory}`);
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const fence = (epoch: number, thawsFrom: string | null) =>
    createFence(store, JOB, { version: 1, epoch, worker: 'one', thawsFrom, at: 1 });
  const write = (id: string, uncommitted = false) => writeCheckpoint(store, PREFIX, { id, uncommitted });
  async function checkpoints(folder = 'manifests/'): Promise<string[]> {
    const objects = await Array.fromAsync(store.list(PREFIX + folder));
    return objects.map(({ key }) => key.slice(PREFIX.length + folder.length).slice(0, '00000001-000001'.length));
  }
  function retention(epoch: number, keep: number, signal = new AbortController().signal, over = store) {
    const logger = { warn: vi.fn(), debug: vi.fn() };
    const context = { store: over, logger };
    const order = { context, queued: { id: JOB, epoch }, keep, signal };
    return { logger, run: new Retention(order as unknown as ConstructorParameters<typeof Retention>[0]) };
  }

  test('removes what a stale run committed behind the back of a newer one, and its packs', async () => {
    await fence(1, null);
    await write('00000001-000001');
    await fence(2, '00000001-000001');
    await write('00000001-000002');
    await write('00000002-000001');
    const { run } = retention(2, 5);
    run.began('00000001-000001');
    await expect.poll(() => checkpoints()).toEqual(['00000001-000001', '00000002-000001']);
    await expect.poll(() => checkpoints('packs/')).toEqual(['00000001-000001', '00000002-000001']);
  });

  test('keeps the last of the history, and what is being uploaded', async () => {
    await fence(1, null);
    for (const sequence of [1, 2, 3]) await write(`00000001-00000${sequence}`);
    await write('00000001-000004', true);
    const { run } = retention(1, 2);
    run.committed('00000001-000003');
    await expect.poll(() => checkpoints('packs/')).toEqual(['00000001-000002', '00000001-000003', '00000001-000004']);
    expect(await checkpoints()).toEqual(['00000001-000002', '00000001-000003']);
  });

  test('keeps what the next checkpoint builds on, when a freeze that failed has left its manifest', async () => {
    const ids = [1, 2, 3, 4].map((sequence) => `00000001-00000${sequence}`) as [string, string, string, string];
    await fence(1, null);
    await write(ids[0]);
    const base = await write(ids[1]);
    await writeCheckpoint(store, PREFIX, { id: ids[2], buildsOn: [base] });
    const { run } = retention(1, 1);
    run.committed(ids[1]);
    await expect.poll(() => checkpoints()).toEqual([ids[1], ids[2]]);
    await writeCheckpoint(store, PREFIX, { id: ids[3], buildsOn: [base] });
    run.committed(ids[3]);
    await expect.poll(() => checkpoints()).toEqual([ids[3]]);
    await expect.poll(() => checkpoints('packs/')).toEqual([ids[1], ids[3]]);
  });

  test('removes what it may not read any more as soon as it begins', async () => {
    await fence(1, null);
    await write('00000001-000001');
    await fence(2, null);
    retention(2, 2).run.began(null);
    await expect.poll(() => checkpoints()).toEqual([]);
  });

  test('removes nothing any more once a newer run has begun', async () => {
    await fence(1, null);
    for (const sequence of [1, 2, 3]) await write(`00000001-00000${sequence}`);
    await fence(2, '00000001-000001');
    let listings = 0;
    const seen = alteredStore(store, {
      list: (prefix) => {
        if (prefix === storeKeys.fences(JOB)) listings += 1;
        return store.list(prefix);
      },
      delete: () => Promise.reject(new Error('It must not remove anything.')),
    });
    const { run, logger } = retention(1, 1, undefined, seen);
    run.committed('00000001-000003');
    run.committed('00000001-000003'); // follows the first: when it has listed too, the first is over
    await expect.poll(() => listings).toBe(2);
    expect(await checkpoints()).toHaveLength(3);
    expect(logger.warn).not.toHaveBeenCalled();
  });

  test('a store that fails is told of once, and the next time makes up for it', async () => {
    await fence(1, null);
    await write('00000001-000001');
    await write('00000001-000002');
    let isAway = true;
    const away = new StoreError('unreachable', 'No answer.', 'Wait.');
    const sometimes = alteredStore(store, {
      delete: (keys) => (isAway ? Promise.reject(away) : store.delete(keys)),
    });
    const { run, logger } = retention(1, 1, undefined, sometimes);
    run.committed('00000001-000002');
    await expect.poll(() => logger.warn.mock.calls.length).toBe(1);
    run.committed('00000001-000002');
    await expect.poll(() => logger.debug.mock.calls.length).toBe(1);
    expect(await checkpoints()).toHaveLength(2);
    isAway = false;
    run.committed('00000001-000002');
    await expect.poll(() => checkpoints()).toEqual(['00000001-000002']);
    expect(logger.warn).toHaveBeenCalledTimes(1);
  });

  test('a run that is over removes nothing, and says nothing', async () => {
    await fence(1, null);
    await write('00000001-000001');
    await write('00000001-000002');
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const slow = alteredStore(store, {
      async *list(prefix) {
        reached.resolve();
        await released.promise;
        yield* store.list(prefix);
      },
    });
    const { run, logger } = retention(1, 1, undefined, slow);
    run.committed('00000001-000002');
    await reached.promise;
    run[Symbol.dispose]();
    released.resolve();
    await new Promise(setImmediate);
    expect(await checkpoints()).toHaveLength(2);
    expect(logger.warn).not.toHaveBeenCalled();
  });
});
