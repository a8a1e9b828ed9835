/** One flipped byte, or one object that is gone, anywhere in a checkpoint. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStore, type Store } from '../../store/index.ts';
import { KeyRing } from '../encryption/keyRing.ts';
import { writeWholeCheckpoint } from '../testing/writeWholeCheckpoint.ts';
import { Codec } from './codec.ts';
import { checkpointKeys } from './format.ts';
import { fileListFlaws, verifyCheckpoint } from './verify.ts';

const PREFIX = 'jobs/a/checkpoints/';
const ID = '00000001-000001';
const [PACK_0, PACK_1] = [checkpointKeys.pack(ID, 0), checkpointKeys.pack(ID, 1)];
const MEMORY = 'memory of process 1001';

const codec = new Codec(null);
let directory: string;
let store: Store;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-verify-'));
  store = await openStore(`file://${directory}`);
  await writeWholeCheckpoint(store, PREFIX, ID);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const verify = () => verifyCheckpoint({ store, prefix: PREFIX, id: ID, keyRing: KeyRing.of(), codec });

async function change(key: string, how: (bytes: Buffer) => Uint8Array): Promise<void> {
  const bytes = await store.get(PREFIX + key);
  await store.delete([PREFIX + key]);
  await store.create(PREFIX + key, how(bytes));
}

const flipped = (at: number) => (bytes: Buffer) => {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
};

test('a whole one has no damage, and tells how far it is', async () => {
  const steps: number[][] = [];
  const onProgress = (...step: number[]) => void steps.push(step);
  const found = await verifyCheckpoint({
    ...{ store, prefix: PREFIX, id: ID, keyRing: KeyRing.of(), codec },
    onProgress,
  });
  expect(found).toMatchObject({ id: ID, packs: 2, chunks: 4, damages: [], hits: [] });
  expect(steps).toHaveLength(2);
  expect(steps.at(-1)?.[0]).toBe(steps.at(-1)?.[1]);
});

test.each([
  ['the beginning of a pack', PACK_0, 30, [MEMORY]],
  ['the second chunk of a pack', PACK_1, 100_000, ['file workspace/data']],
  ['a chunk of an image', PACK_1, 30, ['image core-1001.img']],
])('a flipped byte in %s is found, and who it hits', async (_, key, at, hits) => {
  await change(key, flipped(at));
  const found = await verify();
  expect(found.damages).toEqual([expect.stringContaining(`${key}: 1 of its 2 chunks`)]);
  expect(found.hits).toEqual(hits);
});

test.each([
  ['index', checkpointKeys.index(ID), 40],
  ['manifest', checkpointKeys.manifest(ID), 3],
])('a flipped byte in its %s damages everything', async (_, key, at) => {
  await change(key, flipped(at));
  expect(await verify()).toMatchObject({ damages: [expect.stringContaining('corrupt')], hits: ['everything'] });
});

test('a pack that is gone is named', async () => {
  await store.delete([PREFIX + PACK_1]);
  const found = await verify();
  expect(found.damages).toEqual([`${PACK_1} is missing.`]);
  expect(found.hits).toEqual(['image core-1001.img', 'file workspace/data']);
});

test('a pack that was cut short, or has more, is named', async () => {
  await change(PACK_0, (bytes) => bytes.subarray(0, -1));
  await change(PACK_1, (bytes) => Buffer.concat([bytes, Buffer.from('x')]));
  const { damages, hits } = await verify();
  expect(damages.join()).toContain(`${PACK_0} has `);
  expect(damages.join()).toContain(`${PACK_1} has `);
  expect(hits).toEqual([MEMORY]);
});

test('an index that is gone is damage; a checkpoint that is not there is none', async () => {
  await store.delete([PREFIX + checkpointKeys.index(ID)]);
  expect((await verify()).hits).toEqual(['everything']);
  await store.delete([PREFIX + checkpointKeys.manifest(ID)]);
  await expect(verify()).rejects.toMatchObject({ code: 'notFound' });
});

test('a list of files that cannot be made is told', () => {
  const attributes = { mode: 0o644, uid: 0, gid: 0, modifiedAtMs: 0 };
  const fifo = (path: string) => ({ type: 'fifo' as const, path, ...attributes });
  expect(fileListFlaws([fifo('a'), fifo('a')])).toEqual([expect.stringContaining('a twice')]);
  expect(fileListFlaws([fifo('a/b')])).toEqual([expect.stringContaining('without its folder')]);
  expect(fileListFlaws([fifo('a'), { type: 'link', path: 'b', target: 'a' }])).toEqual([
    expect.stringContaining('no file before it'),
  ]);
});
