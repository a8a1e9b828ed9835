import { expect, test } from 'vitest';
import type { MemoryFor } from '../checkpoint/codec.ts';
import type { Index } from '../checkpoint/format.ts';
import { FreezerError } from '../errors.ts';
import { ChunkCache, type ChunkReader } from './chunkCache.ts';

const CHUNK_BYTES = 2 ** 18;
const MOST_BYTES = 80 * 2 ** 20;

/** What is said of a chunk at once, without holding it. */
function peek(cache: ChunkCache, chunk: number): Uint8Array | undefined {
  using held = cache.getAtOnce(chunk);
  return held?.content;
}

/** Chunks of zeros but for their number, read in batches that are one piece of memory, as the codec gives them. */
function readerOf(chunks: number): ChunkReader {
  const index = { chunks: Array.from({ length: chunks }, (_, at) => [`${at}`, 0, at, 1, CHUNK_BYTES]) };
  const read = (numbers: readonly number[], memoryFor: MemoryFor = (sizeBytes) => new Uint8Array(sizeBytes)) => {
    const batch = memoryFor(numbers.length * CHUNK_BYTES);
    return numbers.map((number, at) => {
      const content = batch.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES);
      new DataView(content.buffer, content.byteOffset).setUint32(0, number);
      return content;
    });
  };
  return {
    index: index as unknown as Index,
    readChunk: async (number) => ({ content: read([number])[0] ?? new Uint8Array(), digests: new Uint8Array() }),
    readChunks: async (numbers, onChunk, { memoryFor } = {}) => {
      const all = [...numbers];
      for (const [at, content] of read(all, memoryFor).entries()) onChunk(all[at] ?? 0, content, new Uint8Array());
    },
  };
}

test('no more memory is kept than allowed, whatever of it stays in use', async () => {
  const cache = new ChunkCache(readerOf(4096), () => undefined);
  for (let chunk = 0; chunk < 4096; chunk += 16) {
    cache.readAhead(Array.from({ length: 16 }, (_, at) => chunk + at));
    await cache.get(chunk);
    // One of each batch stays in use.
    for (let used = 0; used <= chunk; used += 16) peek(cache, used);
  }
  const kept = Array.from({ length: 4096 }, (_, chunk) => peek(cache, chunk)).filter(
    (content) => content !== undefined,
  );
  const buffers = new Set(kept.map(({ buffer }) => buffer));
  const heldBytes = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(heldBytes).toBeLessThanOrEqual(MOST_BYTES);
  expect(heldBytes).toBeGreaterThan(MOST_BYTES / 2);
});

test('what was used last is kept', async () => {
  const cache = new ChunkCache(readerOf(4096), () => undefined);
  for (let chunk = 0; chunk < 4096; chunk += 16) {
    cache.readAhead(Array.from({ length: 16 }, (_, at) => chunk + at));
    await cache.get(chunk);
    expect(peek(cache, 1)?.[3]).toBe(1);
  }
  expect(peek(cache, 16)).toBeUndefined();
});

test('whoever waits for a chunk gets it, whatever becomes of its digests', async () => {
  const cache = new ChunkCache(readerOf(4), () => {
    throw new Error('ENOSPC: no space left on device, write');
  });
  expect((await cache.get(3)).content[3]).toBe(3);
});

test('a store that fails is asked again; a chunk that does not verify is told, and may be asked for again', async () => {
  const reader = readerOf(4);
  const failures = [new FreezerError('storeFailed', 'It is away.', 'Wait.'), new FreezerError('corrupt', 'No.', 'No.')];
  const failing: ChunkReader = {
    ...reader,
    readChunk: async (number) => {
      const failure = failures.shift();
      if (failure) throw failure;
      return await reader.readChunk(number);
    },
  };
  const cache = new ChunkCache(failing, () => undefined);
  await expect(cache.get(1)).rejects.toMatchObject({ code: 'corrupt' });
  expect((await cache.get(1)).content[3]).toBe(1);
});

test.each([
  ['alone', [] as number[]],
  ['with others', [1, 2]],
])('a chunk whose request is never answered, %s, is asked for again by whoever waits for it', async (_, ahead) => {
  const reader = readerOf(4);
  const unanswered = Promise.withResolvers<void>();
  let requests = 0;
  const answer = async <T>(give: () => Promise<T>): Promise<T> => {
    requests += 1;
    if (requests === 1) await unanswered.promise;
    return await give();
  };
  const came: number[] = [];
  const cache = new ChunkCache(
    {
      ...reader,
      readChunk: (number) => answer(() => reader.readChunk(number)),
      readChunks: (numbers, ...rest) => answer(() => reader.readChunks(numbers, ...rest)),
    },
    (chunk) => came.push(chunk),
  );
  cache.readAhead(ahead);
  const held = await Promise.all([cache.get(1), cache.get(1)]);
  expect(requests).toBe(2);
  for (const { content } of held) expect(content[3]).toBe(1);

  unanswered.resolve();
  if (ahead.length > 0) await cache.get(2);
  await new Promise((resolve) => setImmediate(resolve));
  expect(came).toEqual([1, ...ahead.slice(1)]);
  expect(peek(cache, 1)).toBe(held[0].content);
});

test('memory is used again for what comes later, but never while somebody holds it', async () => {
  const cache = new ChunkCache(readerOf(4096), () => undefined);
  const buffers = new Set<ArrayBufferLike>();
  const held = [];
  for (let chunk = 0; chunk < 4096; chunk += 16) {
    cache.readAhead(Array.from({ length: 16 }, (_, at) => chunk + at));
    const first = await cache.get(chunk);
    buffers.add(first.content.buffer);
    if (chunk % 512 === 0) held.push({ chunk, first });
    else first[Symbol.dispose]();
  }
  for (const { chunk, first } of held) expect(Buffer.from(first.content).readUInt32BE()).toBe(chunk);
  expect(held.length * 16 * CHUNK_BYTES).toBeLessThan(MOST_BYTES / 2);
  const mostBuffers = MOST_BYTES / (16 * CHUNK_BYTES) + held.length;
  expect(buffers.size).toBeLessThanOrEqual(mostBuffers);
});
