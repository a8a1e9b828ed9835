/** A checkpoint that was opened before: what is looked at once more, and what is not read again. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KeyRing } from '../encryption/keyRing.ts';
import { Chain } from '../testing/chain.ts';
import { checkpointKeys, PAGE_BYTES } from './format.ts';
import { type CheckpointSource, type OpenedCheckpoint, openCheckpoint } from './openCheckpoint.ts';

let directory: string;
let chain: Chain;
let source: CheckpointSource;
let before: OpenedCheckpoint;

async function take(): Promise<string> {
  const runs = [{ page: 100, content: randomBytes(3 * PAGE_BYTES) }];
  return (await chain.take([{ object: (1000n << 8n) | 1n, runs }])).id;
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-open-'));
  chain = await Chain.make(directory);
  source = { store: chain.store, prefix: chain.prefix, keyRing: KeyRing.of(undefined) };
  before = await openCheckpoint(source, await take());
});
afterEach(async () => {
  await chain[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

test('the same index is not read again', async () => {
  const { id } = before.manifest;
  await chain.store.delete([chain.prefix + checkpointKeys.index(id)]);
  expect((await openCheckpoint(source, id, before)).index).toBe(before.index);
});

test('a checkpoint that was removed meanwhile is not taken for one that is there', async () => {
  const { id } = before.manifest;
  await chain.store.delete([chain.prefix + checkpointKeys.manifest(id)]);
  await expect(openCheckpoint(source, id, before)).rejects.toMatchObject({ code: 'notFound' });
});

test('another checkpoint, and one of the same name elsewhere, has an index of its own', async () => {
  const next = await openCheckpoint(source, await take(), before);
  expect(next.index).not.toEqual(before.index);
  await using other = await Chain.make(join(directory, 'elsewhere'));
  const runs = [{ page: 7, content: randomBytes(PAGE_BYTES) }];
  const { id } = await other.take([{ object: (1000n << 8n) | 1n, runs }]);
  expect(id).toBe(before.manifest.id);
  const found = await openCheckpoint({ ...source, store: other.store, prefix: other.prefix }, id, before);
  expect(found.index.memory[0]?.ranges).toEqual([[String(7 * PAGE_BYTES), 1, 4]]);
});
