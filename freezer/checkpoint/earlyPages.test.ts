/** What is found out of images while they grow. */
import { randomBytes } from 'node:crypto';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openStore, type Store } from '../../store/index.ts';
import { compiledCodec } from '../testing/compiledCodec.ts';
import { ChunkWriter } from './chunkWriter.ts';
import { Codec } from './codec.ts';
import { digestPages } from './digestPages.ts';
import { EarlyPages } from './earlyPages.ts';
import { CHUNK_BYTES, type Manifest, PAGE_BYTES } from './format.ts';
import type { Part } from './pieces.ts';
import { CheckpointReader } from './reader.ts';

const SEED = 9n;
const STEP_BYTES = 2 * 2 ** 20;
const [PREFIX, ID] = ['jobs/a/', '00000001-000001'];
const WAIT = { timeout: 20_000 };
const codec = new Codec(await compiledCodec());
let directory: string;
let store: Store;
let writer: ChunkWriter;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-early-'));
  store = await openStore(`file://${directory}-store`);
  const options = { store, prefix: PREFIX, checkpointId: ID, base: null, keys: null, digestSeed: SEED };
  writer = new ChunkWriter({ ...options, codec });
});
afterEach(async () => {
  for (const folder of [directory, `${directory}-store`]) await rm(folder, { recursive: true, force: true });
});

const digesting = () => new EarlyPages(directory, writer, { isToStore: false });
const storing = () => new EarlyPages(directory, writer, { isToStore: true });

/** Resolves when it is known of so much of an image; to its descriptor. */
async function untilKnown(early: EarlyPages, name: string, length: number): Promise<number> {
  return await vi.waitFor(() => {
    const file = early.handleOf(name)?.fd ?? -1;
    expect(early.digestsOf([{ file, offset: 0, length }])).not.toBeNull();
    return file;
  }, WAIT);
}

test('are known of what there is, wherever it begins, and while more comes', async () => {
  const content = randomBytes(3 * STEP_BYTES + 5 * PAGE_BYTES);
  const path = join(directory, 'pages-1.img');
  await using early = digesting();
  await writeFile(path, content.subarray(0, STEP_BYTES + 100));
  const file = await untilKnown(early, 'pages-1.img', STEP_BYTES);
  expect(early.digestsOf([{ file, offset: 0, length: STEP_BYTES + PAGE_BYTES }])).toBeNull();
  await appendFile(path, content.subarray(STEP_BYTES + 100));
  await untilKnown(early, 'pages-1.img', 3 * STEP_BYTES);
  for (const [offset, length] of [
    [0, 3 * STEP_BYTES],
    [STEP_BYTES - PAGE_BYTES, 2 * PAGE_BYTES],
    [7 * PAGE_BYTES, 64 * PAGE_BYTES],
  ] as const) {
    const wanted = digestPages(content.subarray(offset, offset + length), SEED);
    expect(wanted.equals(early.digestsOf([{ file, offset, length }]) ?? Buffer.alloc(0))).toBe(true);
  }
  // Of parts, one after the other; and the end is no whole step.
  const parts = [2, 1].map((number) => ({ file, offset: number * PAGE_BYTES, length: PAGE_BYTES }));
  const apart = [2, 1].map((number) =>
    digestPages(content.subarray(number * PAGE_BYTES, (number + 1) * PAGE_BYTES), SEED),
  );
  expect(Buffer.concat(apart).equals(early.digestsOf(parts) ?? Buffer.alloc(0))).toBe(true);
  expect(early.digestsOf([{ file, offset: 3 * STEP_BYTES, length: 5 * PAGE_BYTES }])).toBeNull();
});

test('each image has its own, and other files, and bytes in memory, have none', async () => {
  const contents = [randomBytes(STEP_BYTES), randomBytes(STEP_BYTES)];
  await using early = digesting();
  for (const [at, content] of contents.entries()) await writeFile(join(directory, `pages-${at + 1}.img`), content);
  await writeFile(join(directory, 'core-1.img'), contents[0] ?? '');
  for (const [at, content] of contents.entries()) {
    const file = await untilKnown(early, `pages-${at + 1}.img`, STEP_BYTES);
    const found = early.digestsOf([{ file, offset: 0, length: STEP_BYTES }]);
    expect(digestPages(content, SEED).equals(found ?? Buffer.alloc(0))).toBe(true);
  }
  expect(early.handleOf('core-1.img')).toBeUndefined();
  expect(early.digestsOf([new Uint8Array(PAGE_BYTES)])).toBeNull();
});

test('a folder that goes away takes nothing with it', async () => {
  await using early = digesting();
  await writeFile(join(directory, 'pages-1.img'), randomBytes(STEP_BYTES));
  const file = await untilKnown(early, 'pages-1.img', STEP_BYTES);
  await rm(directory, { recursive: true });
  await early.stop();
  expect(early.digestsOf([{ file, offset: 0, length: STEP_BYTES }])).not.toBeNull();
});

/** What parts are, once everything is in the store. */
async function read(parts: readonly Part[]): Promise<Buffer> {
  const { chunks, packs } = await writer.finish();
  await writer.sent();
  const opened = {
    manifest: { id: ID, packs } as unknown as Manifest,
    index: { chunks, memory: [], images: [], files: [] },
    keys: null,
  };
  const reader = new CheckpointReader({ store, prefix: PREFIX } as never, opened, codec);
  const pieces = parts.map(async ({ chunk, offset, sizeBytes }) => {
    if (chunk === null) return Buffer.alloc(sizeBytes);
    return Buffer.from((await reader.readChunk(chunk)).content).subarray(offset, offset + sizeBytes);
  });
  return Buffer.concat(await Promise.all(pieces));
}

test('what is stored already is found again, wherever a window begins, and zeros are not stored', async () => {
  const content = randomBytes(2 * STEP_BYTES);
  content.fill(0, 3 * CHUNK_BYTES, 5 * CHUNK_BYTES);
  await using early = storing();
  await writeFile(join(directory, 'pages-1.img'), content);
  const file = await untilKnown(early, 'pages-1.img', 2 * STEP_BYTES);
  const [offset, length] = [2 * CHUNK_BYTES + 5 * PAGE_BYTES, 5 * CHUNK_BYTES];
  const parts = early.partsOf([{ file, offset, length }]) ?? [];
  expect(parts.filter(({ chunk }) => chunk === null)).toHaveLength(2);
  expect((await read(parts)).equals(content.subarray(offset, offset + length))).toBe(true);
});

test('what has only been digested, or has not all been seen, is stored nowhere', async () => {
  await writeFile(join(directory, 'pages-1.img'), randomBytes(STEP_BYTES + PAGE_BYTES));
  {
    await using early = digesting();
    const file = await untilKnown(early, 'pages-1.img', STEP_BYTES);
    expect(early.partsOf([{ file, offset: 0, length: PAGE_BYTES }])).toBeNull();
  }
  await using early = storing();
  const file = await untilKnown(early, 'pages-1.img', STEP_BYTES);
  expect(early.partsOf([{ file, offset: STEP_BYTES - PAGE_BYTES, length: 2 * PAGE_BYTES }])).toBeNull();
});

test('no more is stored early than packs have room in memory, and nothing waits for ever', async () => {
  const content = randomBytes(200 * 2 ** 20);
  await using early = storing();
  writer.holdBack();
  await writeFile(join(directory, 'pages-1.img'), content);
  await vi.waitFor(() => expect(writer.arePacksFull).toBe(true), WAIT);
  await early.stop();
  const file = early.handleOf('pages-1.img')?.fd ?? -1;
  expect(early.partsOf([{ file, offset: 100 * 2 ** 20, length: PAGE_BYTES }])).not.toBeNull();
  expect(early.partsOf([{ file, offset: 199 * 2 ** 20, length: PAGE_BYTES }])).toBeNull();
  const parts = early.partsOf([{ file, offset: 7 * PAGE_BYTES, length: 30 * 2 ** 20 }]) ?? [];
  expect((await read(parts)).equals(content.subarray(7 * PAGE_BYTES, 7 * PAGE_BYTES + 30 * 2 ** 20))).toBe(true);
});

test('whoever waits for something to be compressed while packs are full and held back gets it', async () => {
  await using early = storing();
  writer.holdBack();
  await writeFile(join(directory, 'pages-1.img'), randomBytes(200 * 2 ** 20));
  await vi.waitFor(() => expect(writer.arePacksFull).toBe(true), WAIT);
  await early.stop();
  const content = [randomBytes(PAGE_BYTES)];
  let chunk = -1;
  writer.examine(content, { stored: true }, (finding) => {
    chunk = writer.store(content, finding);
  });
  await writer.allExamined();
  const [page] = content;
  expect(page && (await read([{ chunk, offset: 0, sizeBytes: PAGE_BYTES }])).equals(page)).toBe(true);
});
