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

test('what is known of the job is demanded of it: its image, and that it is encrypted', async () => {
  const { id } = before.manifest;
  const open = (known: CheckpointSource['known']) => openCheckpoint({ ...source, known }, id);
  await expect(open({ isEncrypted: true })).rejects.toMatchObject({ code: 'substituted' });
  await expect(open({ image: `debian@sha256:${'0'.repeat(64)}` })).rejects.toMatchObject({
    code: 'substituted',
    message: expect.stringContaining("the job's is debian@sha256:0"),
  });
  expect((await open({ isEncrypted: false, image: null })).manifest.id).toBe(id);
});

test.each([
  ['an image that an engine would take for an option', { image: '--privileged' }],
  ['an image with spaces', { image: 'debian --privileged' }],
  ['the agent as its root', { rootPid: 1 }],
  ['the epoch of another', { epoch: 2 }],
  ['the index of another', { index: { key: 'index/00000001-000009', sizeBytes: 10, sha256: '0'.repeat(64) } }],
  ['endless words', { kernel: 'x'.repeat(10_000) }],
])('a manifest with %s is none', async (_what, change) => {
  const { id } = before.manifest;
  const key = chain.prefix + checkpointKeys.manifest(id);
  await chain.store.delete([key]);
  await chain.store.create(key, Buffer.from(JSON.stringify({ ...before.manifest, ...change })));
  await expect(openCheckpoint(source, id)).rejects.toMatchObject({ code: 'corrupt' });
});

test('a manifest that is endless is not read to its end', async () => {
  const { id } = before.manifest;
  const key = chain.prefix + checkpointKeys.manifest(id);
  await chain.store.delete([key]);
  await chain.store.create(key, Buffer.alloc(65 * 2 ** 20, ' '));
  await expect(openCheckpoint(source, id)).rejects.toMatchObject({ code: 'corrupt' });
});
