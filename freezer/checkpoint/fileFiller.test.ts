/** Content into files, from pieces made by hand. */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readdirSync, readSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileFiller } from './fileFiller.ts';
import { CHUNK_BYTES, type Chunk, type Piece } from './format.ts';
import type { Destination } from './places.ts';
import { execute } from './writePlan.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-filler-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** As an index has them; where they are stored means nothing here. */
function chunksOf(contents: readonly Uint8Array[]): Chunk[] {
  return contents.map(({ length }, at) => ['0'.repeat(64), 0, at, 1, length]);
}

/** An empty file of that size in the directory. */
function destination(name: string, sizeBytes: number, pieces: Piece[], more: Partial<Destination> = {}): Destination {
  const path = join(directory, name);
  const file = openSync(path, 'wx', 0o600);
  ftruncateSync(file, sizeBytes);
  closeSync(file);
  return { path, sizeBytes, pieces, ...more };
}

/** Brings every wanted chunk, in the order given, the way that the filler asks for. Tells which went through threads. */
function bring(filler: FileFiller, contents: readonly Uint8Array[], order = filler.wanted): number[] {
  const inThreads: number[] = [];
  for (const chunk of order) {
    const content = contents[chunk] ?? Buffer.alloc(0);
    const writes = filler.writesFor(chunk);
    if (writes === null) {
      filler.fill(chunk, content);
      continue;
    }
    inThreads.push(chunk);
    // Numbers only: it is on its way to a thread.
    execute(structuredClone(writes), content);
    filler.written(chunk);
  }
  filler.finish();
  return inThreads;
}

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd');
}

describe('comes to where it belongs', () => {
  const contents = [randomBytes(CHUNK_BYTES), randomBytes(CHUNK_BYTES), randomBytes(10_000)] as const;
  const [first, second, third] = contents;
  const chunks = chunksOf(contents);

  test('whole chunks, parts of chunks and zeros', async () => {
    const pieces: Piece[] = [0, [-1, 0, 8192], [1, 4096, 4096], 2, [0, 0, 1]];
    const whole = Buffer.concat([first, Buffer.alloc(8192), second.subarray(4096, 8192), third, first.subarray(0, 1)]);
    using filler = new FileFiller([destination('file', whole.length, pieces)], chunks);
    bring(filler, contents);
    expect((await readFile(join(directory, 'file'))).equals(whole)).toBe(true);
  });

  test('zeros alone, and nothing at all', async () => {
    using filler = new FileFiller([destination('zeros', 2 ** 30, [[-1, 0, 2 ** 30]]), destination('empty', 0, [])], []);
    expect(filler.wanted).toEqual([]);
    filler.finish();
    expect(await stat(join(directory, 'zeros'))).toMatchObject({ size: 2 ** 30, blocks: 0 });
  });

  test('one chunk in a thousand files, and a file of ten thousand parts', async () => {
    const small = Array.from({ length: 1000 }, (_, at) => destination(`small-${at}`, 100, [[2, at, 100]]));
    const parts = Array.from({ length: 10_000 }, (_, at): Piece => [at % 2, (at % 64) * 4096, 4096]);
    const large = destination('large', 4096 * parts.length, parts);
    using filler = new FileFiller([...small, large], chunks);
    bring(filler, contents);
    for (const at of [0, 500, 999]) {
      const content = await readFile(join(directory, `small-${at}`));
      expect(content.equals(third.subarray(at, at + 100))).toBe(true);
    }
    const expected = Buffer.concat(
      parts.map((_, at) => (contents[at % 2] ?? first).subarray((at % 64) * 4096, (at % 64) * 4096 + 4096)),
    );
    expect((await readFile(large.path)).equals(expected)).toBe(true);
  });

  test('chunks that come in any order, some through threads', async () => {
    const many = Array.from({ length: 40 }, () => randomBytes(5000));
    const numbers = many.map((_, at) => at);
    const files = [
      destination('memory', 200_000, numbers),
      destination('backwards', 200_000, numbers.toReversed()),
      destination('little', 5000, [7]),
    ];
    using filler = new FileFiller(files, chunksOf(many));
    const inThreads = bring(filler, many, numbers.toReversed());
    // The little file wants it too, and that is written here.
    expect(inThreads).toEqual(numbers.filter((number) => number !== 7).toReversed());
    expect((await readFile(join(directory, 'memory'))).equals(Buffer.concat(many))).toBe(true);
    expect((await readFile(join(directory, 'backwards'))).equals(Buffer.concat(many.toReversed()))).toBe(true);
    expect((await readFile(join(directory, 'little'))).equals(many[7] ?? first)).toBe(true);
  });

  test('a sparse file: content in its ranges, and holes where there are blocks of zeros', async () => {
    const content = Buffer.concat([randomBytes(4096), Buffer.alloc(16 * 4096), randomBytes(4096)]);
    const sizeBytes = 3 * 2 ** 30 + 5;
    const dataRanges: [number, number][] = [
      [2 ** 20, content.length],
      [3 * 2 ** 30, 5],
    ];
    const sparse = destination('sparse', sizeBytes, [0, [1, 3, 5]], { dataRanges });
    const tail = randomBytes(8);
    using filler = new FileFiller([sparse], chunksOf([content, tail]));
    expect(bring(filler, [content, tail])).toEqual([]);
    expect((await stat(sparse.path)).blocks * 512).toBeLessThanOrEqual(3 * 4096);
    const reading = openSync(sparse.path, 'r');
    const [data, end] = [Buffer.alloc(content.length), Buffer.alloc(5)];
    readSync(reading, data, 0, data.length, 2 ** 20);
    readSync(reading, end, 0, 5, 3 * 2 ** 30);
    closeSync(reading);
    expect(data.equals(content)).toBe(true);
    expect(end.equals(tail.subarray(3))).toBe(true);
  });
});

describe('descriptors', () => {
  const many = Array.from({ length: 8 }, () => randomBytes(4096));
  const files = () =>
    Array.from({ length: 1000 }, (_, at) =>
      destination(`file-${at}`, 4096 * many.length, [...many.map((_, piece) => piece)]),
    );

  test('are never many at once, and all closed when everything is written', () => {
    const before = openDescriptors().length;
    using filler = new FileFiller(files(), chunksOf(many));
    let most = 0;
    for (const chunk of filler.wanted) {
      filler.fill(chunk, many[chunk] ?? Buffer.alloc(0));
      most = Math.max(most, openDescriptors().length - before);
    }
    filler.finish();
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(300);
    expect(openDescriptors()).toHaveLength(before);
  });

  test('stay open for a thread that writes, whatever else is written meanwhile', async () => {
    const held = destination('held', 4096 * 8, [0, 1, 2, 3, 4, 5, 6, 7]);
    const extra = randomBytes(4096);
    const others = Array.from({ length: 400 }, (_, at) => destination(`other-${at}`, 8192, [8, 1]));
    const contents = [...many, extra];
    using filler = new FileFiller([held, ...others], chunksOf(contents));
    const writes = filler.writesFor(0) ?? [];
    filler.fill(8, extra);
    execute(writes, many[0] ?? extra);
    filler.written(0);
    expect((await readFile(held.path)).subarray(0, 4096).equals(many[0] ?? extra)).toBe(true);
  });

  test('are closed where the work ends half-way', () => {
    const before = openDescriptors().length;
    {
      using filler = new FileFiller(files(), chunksOf(many));
      filler.fill(0, many[0] ?? Buffer.alloc(0));
      expect(openDescriptors().length).toBeGreaterThan(before);
      expect(() => filler.finish()).toThrow('7000 pieces');
    }
    expect(openDescriptors()).toHaveLength(before);
  });
});

test('nothing is written through a link', async () => {
  const target = join(directory, 'target');
  await writeFile(target, 'untouched');
  await symlink(target, join(directory, 'link'));
  const content = randomBytes(9);
  using filler = new FileFiller([{ path: join(directory, 'link'), sizeBytes: 9, pieces: [0] }], chunksOf([content]));
  expect(() => filler.fill(0, content)).toThrow('ELOOP');
  expect(await readFile(target, 'utf8')).toBe('untouched');
});

test('a disk that is full says so', () => {
  // The one file that is always full.
  const content = randomBytes(9);
  using filler = new FileFiller([{ path: '/dev/full', sizeBytes: 9, pieces: [0] }], chunksOf([content]));
  expect(() => filler.fill(0, content)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
});

describe('pieces are refused that', () => {
  const chunks = chunksOf([randomBytes(4096), randomBytes(10)]);

  test.each<[string, Partial<Destination>]>([
    ['name a chunk that is not there', { pieces: [0, [9, 0, 10]] }],
    ['want more of a chunk than it has', { pieces: [0, [1, 1, 10]] }],
    ['are too few', { pieces: [0] }],
    ['are too many', { pieces: [0, 1, 1] }],
    ['have more than fits', { pieces: [0, 0] }],
    ['have zeros beyond the end', { pieces: [0, 1, [-1, 0, 4096]] }],
    [
      'cross the end of a range',
      {
        pieces: [0, 1],
        dataRanges: [
          [0, 4000],
          [4000, 106],
        ],
      },
    ],
    [
      'have a range beyond the end',
      {
        pieces: [0, 1],
        dataRanges: [
          [0, 4096],
          [4100, 10],
        ],
      },
    ],
  ])('%s', (_, lie) => {
    const sound: Destination = { path: join(directory, 'file'), sizeBytes: 4106, pieces: [0, 1] };
    expect(new FileFiller([sound], chunks).wanted).toEqual([0, 1]);
    expect(() => new FileFiller([{ ...sound, ...lie }], chunks)).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });
});
