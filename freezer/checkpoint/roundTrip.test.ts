/** Content through the writer, a store, and the reader. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store, StoreError } from '../../store/index.ts';
import { compiledCodec } from '../testing/compiledCodec.ts';
import { ChunkWriter } from './chunkWriter.ts';
import { Codec } from './codec.ts';
import { CHUNK_BYTES, type Chunk, type Manifest, type Piece } from './format.ts';
import type { OpenedCheckpoint } from './openCheckpoint.ts';
import { partOf, zeros } from './pieces.ts';
import { CheckpointReader } from './reader.ts';

const PREFIX = 'jobs/a/';
const ID = '00000001-000001';
const KEYS = { identity: randomBytes(32), encryption: randomBytes(32), manifest: randomBytes(32) };

let directory: string;
let store: Store;
const plain = new Codec(null);
const native = new Codec(await compiledCodec());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-chunks-'));
  store = await openStore(`file://${join(directory, 'store')}`);
});

afterEach(() => rm(directory, { recursive: true, force: true }));

interface Written {
  readonly chunks: Chunk[];
  readonly packs: Manifest['packs'];
  readonly pieces: Piece[];
  readonly keys: typeof KEYS | null;
}

interface Writing {
  readonly to?: Store;
  readonly keys?: typeof KEYS | null;
  readonly codec?: Codec;
}

async function write(content: Buffer, { to = store, keys = null, codec = plain }: Writing = {}) {
  const options = { prefix: PREFIX, checkpointId: ID, codec, base: null, bufferBytes: 1 };
  const writer = new ChunkWriter({ ...options, store: to, keys, digestSeed: 0n });
  const pieces: Piece[] = [];
  for (let at = 0; at < content.length; at += CHUNK_BYTES) {
    await writer.ready();
    const part = content.subarray(at, at + CHUNK_BYTES);
    const space = writer.slabs.space(part.length);
    space.set(part);
    writer.slabs.took(part.length);
    const held = space.subarray(0, part.length);
    const position = pieces.push(zeros(part.length)) - 1;
    writer.examine([held], { stored: true }, (finding) => {
      if (!finding.isZero) pieces[position] = writer.store([held], finding);
    });
  }
  const written: Written = { ...(await writer.finish()), pieces, keys };
  await writer.sent();
  return { written, sentBytes: writer.sentBytes };
}

function readerOf({ chunks, packs, keys }: Written, codec: Codec, from: Store): CheckpointReader {
  const manifest = { id: ID, packs } as unknown as Manifest;
  const opened: OpenedCheckpoint = { manifest, index: { chunks, memory: [], images: [], files: [] }, keys };
  return new CheckpointReader({ store: from, prefix: PREFIX } as never, opened, codec);
}

async function read(written: Written, codec = plain): Promise<Buffer> {
  const { pieces } = written;
  const reader = readerOf(written, codec, store);
  const contents = new Map<number, Buffer>();
  const wanted = pieces.flatMap((piece) => (typeof piece === 'number' ? [piece] : piece[0] < 0 ? [] : [piece[0]]));
  await reader.readChunks(wanted, (number, content) => void contents.set(number, Buffer.from(content)));
  for (const number of new Set(wanted)) {
    const { content } = await reader.readChunk(number);
    expect(Buffer.from(content).equals(contents.get(number) ?? Buffer.alloc(0))).toBe(true);
  }
  return joined(written, contents);
}

function joined({ chunks, pieces }: Written, contents: ReadonlyMap<number, Uint8Array>): Buffer {
  return Buffer.concat(
    pieces.map((piece) => {
      const { chunk = null, offset = 0, sizeBytes = 0 } = partOf(piece, chunks) ?? {};
      if (chunk === null) return Buffer.alloc(sizeBytes);
      return (contents.get(chunk) ?? Buffer.alloc(0)).subarray(offset, offset + sizeBytes);
    }),
  );
}

describe.each([
  ['plain, by the addon', null, native],
  ['encrypted, by the addon', KEYS, native],
  ["plain, by Node's modules", null, plain],
  ["encrypted, by Node's modules", KEYS, plain],
])('%s', (_, keys, codec) => {
  test.each([
    ['one byte', Buffer.from('x')],
    ['what does not compress, in several packs', randomBytes(40 * 2 ** 20 + 12345)],
    ['what compresses', Buffer.alloc(9 * 2 ** 20 + 1, 'compressible ')],
    ['zeros between', Buffer.concat([Buffer.from('x'), Buffer.alloc(3 * 2 ** 20), Buffer.from('y')])],
  ])('%s comes back as it was', async (_name, content) => {
    const { written } = await write(content, { keys, codec });
    expect((await read(written, codec)).equals(content)).toBe(true);
  });

  test('the same content is stored once', async () => {
    const content = randomBytes(CHUNK_BYTES);
    const whole = Buffer.concat([content, content, Buffer.alloc(CHUNK_BYTES), content]);
    const { written, sentBytes } = await write(whole, { keys, codec });
    expect(written.chunks).toHaveLength(1);
    expect(sentBytes).toBeLessThan(CHUNK_BYTES * 1.01);
    expect((await read(written, codec)).equals(whole)).toBe(true);
  });

  test('what is read of packs takes no memory when it has been unpacked, and the content stays', async () => {
    const content = randomBytes(40 * 2 ** 20 + 12345);
    const { written } = await write(content, { keys, codec });
    const fetched: Buffer[] = [];
    const get: Store['get'] = async (...args) => {
      const bytes = await store.get(...args);
      fetched.push(bytes);
      return bytes;
    };
    const contents = new Map<number, Uint8Array>();
    const reader = readerOf(written, codec, Object.assign(Object.create(store), { get }));
    await reader.readChunks(written.chunks.keys(), (number, part) => void contents.set(number, part));
    contents.set(0, (await reader.readChunk(0)).content);
    expect(fetched.map(({ byteLength }) => byteLength)).toEqual(fetched.map(() => 0));
    expect(joined(written, contents).equals(content)).toBe(true);
  });

  describe('a pack is not believed that has', () => {
    test.each<[string, (bytes: Buffer) => Buffer]>([
      [
        'a flipped bit',
        (bytes) =>
          Buffer.concat([bytes.subarray(0, 5000), Buffer.from([1 ^ bytes.readUInt8(5000)]), bytes.subarray(5001)]),
      ],
      ['an end that is missing', (bytes) => bytes.subarray(0, -1)],
      ['only zeros', (bytes) => Buffer.alloc(bytes.length)],
      ['nothing', () => Buffer.alloc(0)],
    ])('%s', async (_name, damage) => {
      const { written } = await write(randomBytes(3 * CHUNK_BYTES), { keys, codec });
      const key = PREFIX + (written.packs[0]?.key ?? '');
      const bytes = await store.get(key);
      await store.delete([key]);
      await store.create(key, damage(bytes));
      await expect(read(written, codec)).rejects.toMatchObject({ code: 'corrupt' });
    });
  });
});

test('zeros cost nothing', async () => {
  const { written, sentBytes } = await write(Buffer.alloc(9 * 2 ** 20));
  expect({ ...written, sentBytes }).toMatchObject({ chunks: [], packs: [], sentBytes: 0 });
});

test('a store that refuses ends the writing with its reason, and does not hang', async () => {
  const refuse = () => Promise.reject(new StoreError('full', 'No space is left.', 'Make room.'));
  const refusing: Store = Object.assign(Object.create(store), { create: refuse });
  await expect(write(randomBytes(80 * 2 ** 20), { to: refusing })).rejects.toMatchObject({
    code: 'storeFailed',
    message: 'No space is left.',
  });
});

test('a sealed chunk is not read with another key', async () => {
  const { written } = await write(randomBytes(100), { keys: KEYS });
  const other = { ...KEYS, encryption: randomBytes(32) };
  await expect(read({ ...written, keys: other })).rejects.toMatchObject({ code: 'corrupt' });
});

describe('a chunk is not believed that has', () => {
  test.each<[string, (chunk: Chunk) => Chunk]>([
    ['another id', ([, ...rest]) => ['0'.repeat(64), ...rest]],
    ['another size', ([id, pack, offset, stored, size]) => [id, pack, offset, stored, size - 1]],
    ['another size as it is stored', ([id, pack, offset, stored, size]) => [id, pack, offset, stored - 1, size]],
    ['another place', ([id, pack, offset, ...rest]) => [id, pack, offset - 1, ...rest]],
  ])('%s', async (_, lie) => {
    const { written } = await write(randomBytes(3 * CHUNK_BYTES));
    const chunks = written.chunks.map((chunk, at) => (at === 1 ? lie(chunk) : chunk));
    await expect(read({ ...written, chunks })).rejects.toMatchObject({ code: 'corrupt' });
  });
});
