import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeStore, expectStoreError, keysOf } from './conformance.ts';
import { openStore } from './open.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-store-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const openFresh = async (name = randomBytes(4).toString('hex')) => openStore(pathToFileURL(join(folder, name)).href);

describeStore('a directory', openFresh);

it('leaves no temporary file and no empty folder behind', async () => {
  await using store = await openFresh('tidy');
  await store.create('a/b/c', Buffer.from('x'));
  await expectStoreError(store.create('a/b/c', Buffer.from('x')), 'exists');
  await store.delete(['a/b/c']);
  expect(await readdir(join(folder, 'tidy'), { recursive: true })).toEqual(['~writing']);
});

it('sweeps out what killed writers left, but not what may still be written', async () => {
  const writing = join(folder, 'swept', '~writing');
  await mkdir(writing, { recursive: true });
  for (const name of ['old', 'new']) await writeFile(join(writing, name), 'x');
  await utimes(join(writing, 'old'), 0, 0);
  await using store = await openFresh('swept');
  expect(await readdir(writing)).toEqual(['new']);
  expect(await keysOf(store, '')).toEqual([]);
});

it('says that a key is no folder for others', async () => {
  await using store = await openFresh('nested');
  await store.create('a', Buffer.from('x'));
  await expectStoreError(store.create('a/b', Buffer.from('x')), 'invalid');
  await expectStoreError(store.create('a/b/c', Buffer.from('x')), 'invalid');
  await expectStoreError(store.get('a/b'), 'notFound');
});
