/** Content through the writer, a store, and the reader. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store, StoreError } from '../../store/index.ts';
import { readChunksInto } from './chunkReader.ts';
import { ChunkWriter } from './chunkWriter.ts';
import { Compressors } from './compressors.ts';
import { CHUNK_BYTES, type Index } from './format.ts';
import { MemoryWriter } from './memory.ts';

const PREFIX = 'jobs/a/';
const ID = '00000001-000001';

let directory: string;
let store: Store;
let compressors: Compressors;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-chunks-'));
  store = await openStore(`file://${join(directory, 'store')}`);
  compressors = new Compressors(2);
});

afterEach(async () => {
  await compressors[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

function writerTo(target: Store, signal = new AbortController().signal): ChunkWriter {
  return new ChunkWriter({ store: target, prefix: PREFIX, checkpointId: ID, compressors, signal, bufferBytes: 1 });
}

function indexOf(writer: ChunkWriter, parts: Partial<Index> = {}): Index {
  return { packs: writer.packs, chunks: writer.chunks, memory: [], images: [], files: [], ...parts };
}

async function read(index: Index, chunks: number[], sizeBytes: number): Promise<Buffer> {
  const path = join(directory, 'read');
  await writeFile(path, Buffer.alloc(0));
  await truncate(path, sizeBytes);
  const signal = new AbortController().signal;
  await readChunksInto([{ path, chunks }], index, {
    store,
    prefix: PREFIX,
    compressors,
    signal,
    onRead: () => undefined,
  });
  return readFile(path);
}

async function writeAll(writer: ChunkWriter, content: Buffer): Promise<number[]> {
  const chunks: number[] = [];
  for (let at = 0; at < content.length; at += CHUNK_BYTES) {
    await writer.ready();
    chunks.push(writer.beginChunk());
    writer.append(content.subarray(at, at + CHUNK_BYTES));
  }
  await writer.finish();
  return chunks;
}

describe('chunks', () => {
  test.each([
    ['one byte', Buffer.from('x')],
    ['what does not compress, in several packs', randomBytes(40 * 2 ** 20 + 12345)],
    ['what compresses', Buffer.alloc(9 * 2 ** 20 + 1, 'compressible ')],
    ['zeros', Buffer.alloc(3 * 2 ** 20)],
  ])('%s comes back as it was', async (_, content) => {
    const writer = writerTo(store);
    const chunks = await writeAll(writer, content);
    expect((await read(indexOf(writer), chunks, content.length)).equals(content)).toBe(true);
  });

  test('the same content is stored once, zeros not at all', async () => {
    const writer = writerTo(store);
    const content = randomBytes(CHUNK_BYTES);
    await writeAll(writer, Buffer.concat([content, content, Buffer.alloc(CHUNK_BYTES), content]));
    expect(writer.sentBytes).toBeLessThan(CHUNK_BYTES * 1.1);
  });

  test('a store that refuses ends the writing with its reason, and does not hang', async () => {
    const refuse = () => Promise.reject(new StoreError('full', 'No space is left.', 'Make room.'));
    const refusing: Store = Object.assign(Object.create(store), { create: refuse });
    await expect(writeAll(writerTo(refusing), randomBytes(80 * 2 ** 20))).rejects.toMatchObject({
      code: 'storeFailed',
      message: 'No space is left.',
    });
  });

  test('a writer that is cancelled while it waits for the store ends', async () => {
    const cancel = new AbortController();
    const stuck: Store = Object.assign(Object.create(store), { create: () => new Promise(() => cancel.abort()) });
    const writer = writerTo(stuck, cancel.signal);
    await expect(writeAll(writer, randomBytes(100 * 2 ** 20))).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('an index that lies is refused', () => {
  async function written(): Promise<{ index: Index; chunks: number[] }> {
    const writer = writerTo(store);
    const chunks = await writeAll(writer, randomBytes(3 * CHUNK_BYTES));
    return { index: indexOf(writer), chunks };
  }

  test.each([
    ['a chunk that is not there', ({ index }: { index: Index }) => ({ index, chunks: [99] })],
    ['a pack that is not there', lyingAbout((chunk) => [chunk[0], 7, chunk[2], chunk[3], chunk[4]])],
    ['an offset beyond the pack', lyingAbout((chunk) => [chunk[0], chunk[1], 2 ** 40, chunk[3], chunk[4]])],
    ['another hash', lyingAbout((chunk) => ['0'.repeat(64), chunk[1], chunk[2], chunk[3], chunk[4]])],
    ['another size', lyingAbout((chunk) => [chunk[0], chunk[1], chunk[2], chunk[3], chunk[4] - 1])],
  ])('%s', async (_, lie) => {
    const { index, chunks } = lie(await written());
    await expect(read(index, chunks, 3 * CHUNK_BYTES)).rejects.toMatchObject({ code: 'corrupt' });
  });
});

type StoredChunk = Index['chunks'][number];

function lyingAbout(change: (chunk: StoredChunk) => StoredChunk) {
  return ({ index, chunks }: { index: Index; chunks: number[] }) => ({
    index: { ...index, chunks: index.chunks.map((chunk, at) => (at === 1 ? change(chunk) : chunk)) },
    chunks,
  });
}

describe('memory', () => {
  const OBJECT = (1000n << 8n) | 1n;

  test('is cut at multiples of the chunk size in the address space, however the stream arrives', async () => {
    const writer = writerTo(store);
    const memory = new MemoryWriter(writer);
    const window = BigInt(CHUNK_BYTES);
    const content = randomBytes(CHUNK_BYTES + 3 * 4096);
    memory.open(OBJECT);
    memory.range(OBJECT, window - 4096n, 2, 4);
    memory.data(window - 4096n, content.subarray(0, 5000));
    memory.data(window - 4096n + 5000n, content.subarray(5000, 8192));
    memory.range(OBJECT, window + 8192n, (content.length - 8192) / 4096, 4);
    memory.data(window + 8192n, content.subarray(8192));
    memory.close();
    await writer.finish();
    const [object] = memory.objects;
    expect(object?.ranges).toEqual([
      [String(window - 4096n), 2, 4],
      [String(window + 8192n), 65, 4],
    ]);
    expect(object?.chunks.map((number) => writer.chunks[number]?.[4])).toEqual([4096, CHUNK_BYTES - 4096, 3 * 4096]);
    const chunks = object?.chunks ?? [];
    expect((await read(indexOf(writer), chunks, content.length)).equals(content)).toBe(true);
  });
});
