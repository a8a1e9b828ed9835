/** What is removed, and that nothing is that a checkpoint still needs. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store, StoreError } from '../../store/index.ts';
import { alteredStore } from '../../store/testing/altered.ts';
import { writeCheckpoint } from '../testing/writeCheckpoint.ts';
import { checkpointId, checkpointKeys, type Manifest } from './format.ts';
import {
  carryOut,
  keepOnly,
  keepOnlyAndSweep,
  planRemoval,
  type RemovalRule,
  readHoldings,
  removeAll,
  removeOnly,
  sumOf,
  sweepLeftovers,
} from './retention.ts';

const PREFIX = 'jobs/a/checkpoints/';
const LATER = new Date(Date.now() + 3_600_000);

let directory: string;
let store: Store;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-retention-'));
  store = await openStore(`file://${directory}`);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const write = (id: string, more: Omit<Parameters<typeof writeCheckpoint>[2], 'id'> = {}) =>
  writeCheckpoint(store, PREFIX, { id, ...more });

async function keys(): Promise<string[]> {
  const objects = await Array.fromAsync(store.list(PREFIX));
  return objects.map(({ key }) => key.slice(PREFIX.length)).sort();
}

const keysOf = (manifest: Manifest) =>
  [checkpointKeys.manifest(manifest.id), manifest.index.key, ...manifest.packs.map(({ key }) => key)].sort();

async function apply(rule: RemovalRule) {
  return carryOut(store, planRemoval(await readHoldings(store, PREFIX), rule));
}

async function sweep(newestEpoch: number, writtenBefore = LATER) {
  const holdings = await readHoldings(store, PREFIX);
  return carryOut(store, planRemoval(holdings, sweepLeftovers(holdings, newestEpoch, writtenBefore)));
}

/** Every checkpoint that can be seen has all that it names. */
async function expectWhole(): Promise<string[]> {
  const { answers } = await readHoldings(store, PREFIX);
  const there = new Set(await keys());
  for (const [id, answer] of answers) {
    if (answer.kind !== 'found') throw new Error(`${id} is ${answer.kind}`);
    for (const key of keysOf(answer.manifest)) expect(there, `${id} needs ${key}`).toContain(key);
  }
  return [...answers.keys()];
}

describe('keepOnly', () => {
  test('keeps the packs that a checkpoint which stays has from one that goes', async () => {
    const first = await write('00000001-000001', { packs: [10, 20] });
    const second = await write('00000001-000002', { packs: [30], buildsOn: [first] });
    expect(await apply(keepOnly([second.id], 1))).toEqual({ objects: 2, sizeBytes: expect.any(Number) });
    expect(await keys()).toEqual(keysOf(second));
  });

  test('removes packs of earlier checkpoints with the last that names them', async () => {
    const first = await write('00000001-000001', { packs: [10] });
    const second = await write('00000001-000002', { buildsOn: [first] });
    await apply(keepOnly([second.id], 1));
    const third = await write('00000001-000003');
    await apply(keepOnly([third.id], 1));
    expect(await keys()).toEqual(keysOf(third));
  });

  test('does not touch what belongs to no checkpoint yet, nor what newer runs wrote', async () => {
    const old = await write('00000001-000001');
    const kept = await write('00000002-000001', { buildsOn: [old] });
    const underWay = await write('00000002-000002', { buildsOn: [kept], uncommitted: true });
    const newer = await write('00000003-000001', { buildsOn: [kept] });
    await apply(keepOnly([kept.id], 2));
    const expected = new Set([kept, newer, underWay].flatMap(keysOf));
    expected.delete(checkpointKeys.manifest(underWay.id));
    expect(await keys()).toEqual([...expected].sort());
  });

  test('keeps what a checkpoint of another version may need, and that one', async () => {
    await write('00000001-000001');
    await store.create(`${PREFIX}${checkpointKeys.manifest('00000001-000002')}`, Buffer.from('{"version":99}'));
    const kept = await write('00000001-000003');
    const before = await keys();
    await apply(keepOnly([kept.id], 1));
    expect(await keys()).toEqual(before.filter((key) => key !== checkpointKeys.manifest('00000001-000001')));
  });

  test('removes a corrupt one with its packs, and nothing that others need', async () => {
    const first = await write('00000001-000001');
    const broken = await write('00000001-000002', { packs: [7], buildsOn: [first], uncommitted: true });
    await store.create(`${PREFIX}${checkpointKeys.manifest(broken.id)}`, Buffer.from('{"version":2'));
    const kept = await write('00000001-000003', { buildsOn: [first] });
    await apply(keepOnly([kept.id], 1));
    expect(await keys()).toEqual(keysOf(kept));
  });

  test('with a sweep: leftovers go, those of newer runs do not', async () => {
    await write('00000001-000001', { uncommitted: true });
    const kept = await write('00000001-000002');
    const newer = await write('00000002-000001', { uncommitted: true });
    await apply(keepOnlyAndSweep([kept.id], 1));
    const [, ...uncommitted] = keysOf(newer).filter((key) => !key.startsWith('manifests/'));
    expect(await keys()).toEqual(expect.arrayContaining([...keysOf(kept), ...uncommitted]));
    expect(await keys()).toHaveLength(5);
  });
});

test('removeOnly takes one, with what nobody else needs', async () => {
  const first = await write('00000001-000001');
  const second = await write('00000001-000002', { buildsOn: [first] });
  const third = await write('00000001-000003', { buildsOn: [first] });
  await apply(removeOnly([second.id]));
  expect(await keys()).toEqual([...new Set([...keysOf(first), ...keysOf(third)])].sort());
});

test('removeAll leaves nothing, whatever the version and whether committed or not', async () => {
  await write('00000001-000001');
  await write('00000009-000001', { uncommitted: true });
  await store.create(`${PREFIX}${checkpointKeys.manifest('00000002-000002')}`, Buffer.from('{"version":99}'));
  await apply(removeAll());
  expect(await keys()).toEqual([]);
});

describe('sweepLeftovers', () => {
  const cases: [string, { id: string; goes: boolean; newestEpoch?: number }][] = [
    ['of an older run', { id: '00000002-000009', goes: true }],
    ['of the newest run, before its newest commit: that upload failed', { id: '00000003-000001', goes: true }],
    ['of the newest run, after its newest commit: it is under way', { id: '00000003-000003', goes: false }],
    ['of a run that began after we looked', { id: '00000004-000001', goes: false }],
    [
      'of a run whose fence is the newest and that committed nothing',
      { id: '00000004-000001', goes: false, newestEpoch: 4 },
    ],
    ['of a run that a newer one has fenced off', { id: '00000003-000003', goes: true, newestEpoch: 4 }],
  ];

  test.each(cases)('packs %s', async (_, { id, goes, newestEpoch = 3 }) => {
    const first = await write('00000002-000001');
    const newest = await write('00000003-000002', { buildsOn: [first] });
    await write(id, { packs: [1, 2, 3], uncommitted: true });
    expect((await sweep(newestEpoch)).objects).toBe(goes ? 4 : 0);
    expect(await keys()).toEqual(expect.arrayContaining([...keysOf(first), ...keysOf(newest)]));
  });

  test('leaves what is younger than the belt', async () => {
    await write('00000001-000001', { uncommitted: true });
    const newest = await write('00000002-000001');
    expect((await sweep(2, new Date(Date.now() - 60_000))).objects).toBe(0);
    await sweep(2);
    expect(await keys()).toEqual(keysOf(newest));
  });

  test('removes no committed checkpoint, and leaves alone what is not Floe’s', async () => {
    const stale = await write('00000001-000005');
    await store.create(`${PREFIX}packs/somebody-elses`, Buffer.from('x'));
    await sweep(7);
    expect(await keys()).toEqual([...keysOf(stale), 'packs/somebody-elses'].sort());
  });
});

test('only plans: what a dry run counts is what then goes', async () => {
  await write('00000001-000001', { packs: [1000], uncommitted: true });
  const holdings = await readHoldings(store, PREFIX);
  const plan = planRemoval(holdings, sweepLeftovers(holdings, 2, LATER));
  expect(sumOf(plan)).toEqual({ objects: 2, sizeBytes: 1050 });
  expect(await keys()).toHaveLength(2);
  expect(await carryOut(store, plan)).toEqual({ objects: 2, sizeBytes: 1050 });
  expect(await keys()).toEqual([]);
});

describe('a removal that is cut short', () => {
  /** Dies at its n-th object. */
  function dyingAfter(count: number): Store {
    let left = count;
    const dying = async (all: readonly string[]) => {
      for (const key of all) {
        if (left-- === 0) throw new StoreError('unreachable', 'The store went away.', 'Wait.');
        await store.delete([key]);
      }
    };
    return alteredStore(store, { delete: dying });
  }

  test.each([0, 1, 2, 3, 4, 5])(
    'after %i objects leaves whole checkpoints, and what the sweep removes',
    async (count) => {
      const first = await write('00000001-000001', { packs: [1, 2] });
      const second = await write('00000001-000002', { packs: [3], buildsOn: [first] });
      const third = await write('00000002-000001', { packs: [4], buildsOn: [first] });
      const plan = planRemoval(await readHoldings(store, PREFIX), removeOnly([first.id, second.id]));
      expect(sumOf(plan).objects).toBe(5);
      const removal = carryOut(dyingAfter(count), plan);
      if (count < 5) await expect(removal).rejects.toMatchObject({ code: 'storeFailed' });
      else await removal;
      expect(await expectWhole()).toContain(third.id);
      await apply(removeOnly([first.id, second.id]));
      await sweep(2);
      expect(await keys()).toEqual(keysOf(third));
    },
  );
});

/** Runs, moves, failures, stale workers, removals and sweeps in any order, many times over. */
describe('whatever happens in whatever order', () => {
  const ids = (manifests: readonly Manifest[]) => manifests.map(({ id }) => id);

  test.each(Array.from({ length: 25 }, (_, at) => at + 1))('nothing that is needed goes (seed %i)', async (seed) => {
    const random = randomFrom(seed);
    const run = { epoch: 1, sequence: 0 };
    let history: Manifest[] = [];
    const removeSome = async () => {
      history = history.slice(0, 1 + random(3));
      await apply(keepOnly(ids(history), run.epoch));
    };
    const next = () => {
      run.sequence += 1;
      return checkpointId(run.epoch, run.sequence);
    };
    const deeds = {
      commit: async () => {
        history = [await write(next(), { buildsOn: history.slice(0, 1) }), ...history];
      },
      fail: () => write(next(), { buildsOn: history.slice(0, 1), uncommitted: true }),
      commitWhileOthersRemove: async () => {
        const manifest = await write(next(), { buildsOn: history.slice(0, 1), uncommitted: true });
        if (random(2) === 0) await sweep(run.epoch);
        else await removeSome();
        await store.create(PREFIX + checkpointKeys.manifest(manifest.id), Buffer.from(JSON.stringify(manifest)));
        history = [manifest, ...history];
      },
      move: async () => {
        run.epoch += 1 + random(2);
        run.sequence = 0;
      },
      staleWorkerWrites: async () => {
        const id = checkpointId(run.epoch - 1, 100 + run.sequence++);
        if (run.epoch > 1) await write(id, { buildsOn: history.slice(0, 1), uncommitted: random(2) === 0 });
      },
      removeSome,
    };
    for (let step = 0; step < 25; step++) {
      await Object.values(deeds)[random(6)]?.();
      const whole = await expectWhole();
      for (const id of ids(history)) expect(whole).toContain(id);
    }
    run.epoch += 1;
    await removeSome();
    await sweep(run.epoch);
    expect(await keys()).toEqual([...new Set(history.flatMap(keysOf))].sort());
  });

  /** A linear congruential generator; `random(n)` is 0 to n - 1. */
  function randomFrom(seed: number): (below: number) => number {
    let state = seed;
    return (below) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }
});
