import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { Signatures } from '../freezer/encryption/signature.ts';
import { storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import type { Store } from '../store/store.ts';
import { createFence, type Fence, listFences, newestEpoch, readFences, readTrustedFences } from './fence.ts';

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

test('names that no run gave are looked at by nobody, however many there are', async () => {
  await createFence(store, ID, fence(3));
  for (const name of ['0', '1', '000000001', '-0000001', '0x000002', '1e000000', '00000002.0', 'zzzzzzzz', '00000000'])
    await store.create(`${storeKeys.fences(ID)}${name}`, Buffer.from('no fence'));
  expect(await listFences(store, ID, 9)).toEqual([3]);
  expect(await newestEpoch(store, ID)).toBe(3);
});

describe('with a key', () => {
  const keys = [Buffer.alloc(32, 7).toString('base64')];
  const signatures = new Signatures(KeyRing.of(keys), 'file:///store');
  const trusted = async (epoch: number, lastRun: number | null, since = 0) => {
    const range = { listed: await listFences(store, ID, epoch), since };
    return await readTrustedFences(store, ID, range, { signatures, lastRun, mayBeUnsigned: () => false });
  };
  const signed = (epoch: number, thawsFrom: string | null = null) =>
    createFence(store, ID, { ...fence(epoch), thawsFrom }, signatures);
  const holdOnly = (objects: ReadonlyMap<string, Buffer>) => {
    vi.spyOn(store, 'list').mockImplementation(async function* () {
      for (const key of objects.keys()) yield { key, sizeBytes: 1, modifiedAt: new Date(0) };
    });
    const get = async (key: string) => Readable.from([objects.get(key) ?? Buffer.of()]);
    return vi.spyOn(store, 'getStream').mockImplementation(get);
  };
  const FORGERIES = {
    'without a signature': (epoch: number) => JSON.stringify({ ...fence(epoch), thawsFrom: '00000001-000001' }),
    'with that of another run': async () => String(await signatures.sign(storeKeys.fence(ID, 9), fence(9))),
    'too large': () => Buffer.alloc(65 * 1024, ' '),
    'nested beyond any stack': async (epoch: number) => {
      const stored = String(await signatures.sign(storeKeys.fence(ID, epoch), fence(epoch)));
      return `${stored.slice(0, -1)},"x":${'['.repeat(30_000)}${']'.repeat(30_000)}}`;
    },
  };

  test.for(Object.entries(FORGERIES))(
    'one %s counts as one that is not there, wherever in the history',
    async ([, make]) => {
      // 1 <- 2 <- 3, 4 and 5 began nothing that moved; then any set of them is forged.
      for (let set = 1; set < 32; set++) {
        const forged = [1, 2, 3, 4, 5].filter((epoch) => set & (1 << (epoch - 1)));
        const objects = new Map<string, Buffer>();
        for (const epoch of [1, 2, 3, 4, 5]) {
          const thawsFrom = epoch === 1 ? null : `0000000${Math.min(epoch, 4) - 1}-000001`;
          const key = storeKeys.fence(ID, epoch);
          const authentic = () => signatures.sign(key, { ...fence(epoch), thawsFrom });
          objects.set(key, Buffer.from(forged.includes(epoch) ? await make(epoch) : await authentic()));
        }
        holdOnly(objects);
        const { fences, refused } = await trusted(6, 3);
        const epochs = fences.map(({ epoch }) => epoch);
        expect(epochs.filter((epoch) => forged.includes(epoch))).toEqual([]);
        expect([...refused.keys()].every((epoch) => forged.includes(epoch))).toBe(true);
        // The newest authentic one is first, and that of the last run is there unless it was forged: then it is known to be.
        expect(epochs[0] ?? null).toBe([5, 4, 3, 2, 1].find((epoch) => !forged.includes(epoch)) ?? null);
        expect(epochs.includes(3)).toBe(!forged.includes(3));
        if (forged.includes(3)) expect(refused.has(3), `${forged}`).toBe(true);
      }
    },
  );

  test('that of the last run is read although the history does not go through it', async () => {
    await signed(1);
    await signed(2, '00000001-000001');
    await signed(3, '00000001-000001');
    expect((await trusted(4, 2, 1)).fences.map(({ epoch }) => epoch)).toEqual([3, 2, 1]);
    expect((await trusted(4, null, 1)).fences.map(({ epoch }) => epoch)).toEqual([3, 1]);
  });

  test('of ten thousand that are forged each is read once', async () => {
    const keys = Array.from({ length: 10_000 }, (_, at) => storeKeys.fence(ID, at + 1));
    const get = holdOnly(new Map(keys.map((key) => [key, Buffer.from('{}')])));
    expect((await trusted(10_001, 5000)).fences).toEqual([]);
    expect(get).toHaveBeenCalledTimes(10_000);
  });
});
