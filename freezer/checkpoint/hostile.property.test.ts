/** Manifests and indexes that nobody of ours wrote: a named error, in little time and memory, or what they say is sound. */
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FreezerError } from '../errors.ts';
import { manifestOf } from '../testing/writeCheckpoint.ts';
import { countPages } from './baseMemory.ts';
import { parseManifest } from './catalogue.ts';
import { flawOf } from './checkIndex.ts';
import { type Chunk, Index, type Manifest } from './format.ts';
import { parseIndex } from './openCheckpoint.ts';
import { partOf } from './pieces.ts';
import { Places } from './places.ts';

const ID = '00000001-000001';
const PACKS = [{ key: `packs/${ID}-000000`, sizeBytes: 1000 }];
const SOUND: Manifest = manifestOf(ID, { key: `index/${ID}`, sizeBytes: 10, sha256: '0'.repeat(64) }, PACKS);

const CHUNKS: Chunk[] = [
  ['1'.repeat(64), 0, 0, 400, 65_536],
  ['2'.repeat(64), 0, 400, 600, 8192],
];
const attributes = { mode: 0o644, uid: 0, gid: 0, modifiedAtMs: 0 };
const INDEX: Index = {
  chunks: CHUNKS,
  memory: [
    {
      object: '257',
      ranges: [
        ['0', 16, 4],
        ['65536', 1_000_000, 2],
        ['262144', 3, 4],
      ],
      pieces: [0, 1, [-1, 0, 4096]],
    },
  ],
  images: [{ name: 'core-1.img', sizeBytes: 100, pieces: [[1, 5, 100]] }],
  files: [
    { type: 'directory', path: 'workspace', ...attributes },
    {
      type: 'file',
      path: 'workspace/a',
      ...attributes,
      sizeBytes: 2 ** 40,
      dataRanges: [[4096, 10]],
      pieces: [[0, 0, 10]],
    },
  ],
};

const pack = async (value: unknown) => promisify(zstdCompress)(Buffer.from(JSON.stringify(value)));

/** Any value of the document replaced by anything. */
function mutated<T>(document: T): fc.Arbitrary<unknown> {
  const paths: (string | number)[][] = [];
  const walk = (value: unknown, path: (string | number)[]) => {
    paths.push(path);
    if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) walk(inner, [...path, name]);
    }
  };
  walk(document, []);
  const replacement = fc.oneof(
    fc.integer(),
    fc.constantFrom(
      -1,
      0,
      2 ** 31,
      2 ** 40,
      2 ** 53,
      -(2 ** 53),
      1e308,
      0.5,
      null,
      '',
      '..',
      'packs/../../x',
      '9'.repeat(20),
    ),
    fc.jsonValue(),
  );
  return fc.tuple(fc.constantFrom(...paths), replacement).map(([path, value]) => {
    const copy: { root: unknown } = { root: structuredClone(document) };
    let [at, name]: [Record<string | number, unknown>, string | number] = [copy, 'root'];
    for (const step of path) [at, name] = [at[name] as Record<string | number, unknown>, step];
    at[name] = value;
    return copy.root;
  });
}

describe('a manifest', () => {
  const answerTo = (bytes: Buffer) => {
    const answer = parseManifest(bytes, ID);
    if (answer.kind === 'found') expect(answer.manifest.id).toBe(ID);
    else expect(['corrupt', 'wrongVersion']).toContain(answer.kind);
    return answer;
  };

  test('is found as it was written', () => {
    expect(answerTo(Buffer.from(JSON.stringify(SOUND)))).toEqual({ kind: 'found', manifest: SOUND });
  });

  test('of any bytes, any JSON, or with any word changed, is answered', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void answerTo(Buffer.from(bytes))));
    fc.assert(fc.property(fc.json(), (text) => void answerTo(Buffer.from(text))));
    fc.assert(
      fc.property(mutated(SOUND), (value) => void answerTo(Buffer.from(JSON.stringify(value) ?? ''))),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['a key that leaves the folder', { packs: [{ key: 'packs/../../a', sizeBytes: 1 }] }],
    ['a pack larger than any', { packs: [{ key: PACKS[0]?.key, sizeBytes: 2 ** 40 }] }],
    ['an index larger than any', { index: { ...SOUND.index, sizeBytes: 2 ** 40 } }],
    ['a word more', { more: 1 }],
  ])('with %s is refused', (_, change) => {
    expect(answerTo(Buffer.from(JSON.stringify({ ...SOUND, ...change }))).kind).toBe('corrupt');
  });

  test.each([0, 1, 2, 5, 2.5, -1])('of version %d is of another version', (version) => {
    expect(answerTo(Buffer.from(JSON.stringify({ ...SOUND, version })))).toEqual({ kind: 'wrongVersion', version });
  });
});

describe('an index', () => {
  async function open(compressed: Uint8Array): Promise<Index | null> {
    try {
      return await parseIndex(compressed, { id: ID, packs: PACKS });
    } catch (error) {
      expect(error).toBeInstanceOf(FreezerError);
      expect(error).toMatchObject({ code: 'corrupt' });
      return null;
    }
  }

  /** What those who use an index do without asking. */
  function use({ chunks, memory, images, files }: Index): void {
    const contents = [...images, ...files.filter((file) => file.type === 'file')];
    new Places(
      contents.map((content) => ({ ...content, path: '' })),
      chunks,
    );
    const inMemory = memory.flatMap(({ pieces }) => pieces.map((piece) => partOf(piece, chunks)?.sizeBytes ?? -1));
    expect(inMemory.reduce((sum, sizeBytes) => sum + sizeBytes, 0)).toBe(countPages({ memory }) * 4096);
  }

  test('is read as it was written', async () => {
    expect(await open(await pack(INDEX))).toEqual(INDEX);
    use(INDEX);
  });

  test('of any bytes, any JSON, cut off, or with any word changed, is refused or sound', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array(), async (bytes) => void (await open(bytes))));
    await fc.assert(fc.asyncProperty(fc.jsonValue(), async (value) => void (await open(await pack(value)))));
    const whole = await pack(INDEX);
    for (let at = 0; at < whole.length; at++) expect(await open(whole.subarray(0, at))).toBeNull();
    await fc.assert(
      fc.asyncProperty(mutated(INDEX), async (value) => {
        const index = await open(await pack(value ?? null));
        if (index) use(index);
      }),
      { numRuns: 1500 },
    );
  });

  test('that would be larger than any is given up early', async () => {
    const bomb = await promisify(zstdCompress)(Buffer.alloc(300 * 2 ** 20), { chunkSize: 2 ** 20 });
    expect(bomb.length).toBeLessThan(2 ** 20);
    expect(await open(bomb)).toBeNull();
  });

  const memory = (ranges: unknown, pieces: unknown) => ({ memory: [{ object: '257', ranges, pieces }] });
  test.each<[string, object]>([
    ['2^40 pages and no content', memory([['0', 2 ** 40, 4]], [])],
    ['2^40 pages in one piece of zeros', memory([['0', 2 ** 40, 4]], [[-1, 0, 2 ** 52]])],
    ['a piece beyond the end of a window', memory([['0', 80, 4]], [[-1, 0, 80 * 4096]])],
    [
      'a piece of half a page',
      memory(
        [['0', 1, 4]],
        [
          [0, 0, 2048],
          [0, 0, 2048],
        ],
      ),
    ],
    ['a piece from the middle of a page', memory([['0', 1, 4]], [[0, 2048, 4096]])],
    ['too little content', memory([['0', 17, 4]], [0])],
    ['too much content', memory([['0', 15, 4]], [0])],
    ['content of a chunk that is not there', memory([['0', 16, 4]], [7])],
    ['content beyond a chunk', memory([['0', 16, 4]], [[0, 4096, 65_536]])],
    ['an address inside a page', memory([['1', 16, 4]], [0])],
    ['an address beyond all memory', memory([['99999999999999999999', 16, 4]], [0])],
    ['an object twice', { memory: [INDEX.memory[0], INDEX.memory[0]] }],
    ['an image twice', { images: [INDEX.images[0], INDEX.images[0]] }],
    ['an image larger than its content', { images: [{ ...INDEX.images[0], sizeBytes: 2 ** 50 }] }],
    ['data beyond the end of a file', { files: [{ ...INDEX.files[1], sizeBytes: 4100 }] }],
    ['a chunk in no pack', { chunks: [['1'.repeat(64), 1, 0, 400, 65_536], CHUNKS[1]] }],
    ['a chunk beyond its pack', { chunks: [['1'.repeat(64), 0, 2 ** 50, 400, 65_536], CHUNKS[1]] }],
    ['a chunk larger than any', { chunks: [['1'.repeat(64), 0, 0, 400, 2 ** 30], CHUNKS[1]] }],
  ])('with %s is refused', async (_, change) => {
    expect(await open(await pack({ ...INDEX, ...change }))).toBeNull();
  });

  test('is checked by its size and not by what it claims', () => {
    const pages = 64 * 100_000;
    const sparse = memory(
      [['0', pages, 4]],
      Array.from({ length: 100_000 }, () => [-1, 0, 262_144]),
    );
    expect(flawOf(Index.parse({ ...INDEX, ...sparse }), PACKS)).toBeNull();
  });
});
