/** The addon held to what Node's own modules do, and to what it must refuse. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compiledCodec } from '../testing/compiledCodec.ts';
import type { ChunkKeys, Coding, Finding, Question, StoredChunk } from './codec.ts';
import { CodecAddon } from './codecAddon.ts';
import type { ContentPart } from './content.ts';
import { CHUNK_BYTES, PAGE_BYTES } from './format.ts';
import { plainCodec } from './plainCodec.ts';

const KEYS: ChunkKeys = { identity: randomBytes(32), encryption: randomBytes(32) };
const SEED = 12345678901234567890n;
const SCRATCH_BYTES = 2 * CHUNK_BYTES;

let directory: string;
let scratch: Buffer;
let file: number;
const addon = CodecAddon.open(await compiledCodec()) as Coding;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-codec-test-'));
  const half = Buffer.alloc(SCRATCH_BYTES / 2, 'compressible ');
  scratch = Buffer.concat([half.fill(0, 8192, 40_000), randomBytes(SCRATCH_BYTES / 2)]);
  writeFileSync(join(directory, 'scratch'), scratch);
  file = openSync(join(directory, 'scratch'), 'r');
});

afterAll(async () => {
  closeSync(file);
  await rm(directory, { recursive: true, force: true });
});

/** Parts of the scratch file, as they lie there or in memory. */
const part = fc
  .record({
    offset: fc.nat(SCRATCH_BYTES - 1),
    length: fc.integer({ min: 1, max: CHUNK_BYTES / 4 }),
    inFile: fc.boolean(),
  })
  .map(({ offset, length, inFile }) => ({ offset, length: Math.min(length, SCRATCH_BYTES - offset), inFile }));
const question = fc.record({
  parts: fc.array(part, { minLength: 1, maxLength: 4 }),
  digests: fc.boolean(),
  stored: fc.boolean(),
});

type Parts = { offset: number; length: number; inFile: boolean }[];
const bytesOf = (parts: Parts) =>
  Buffer.concat(parts.map(({ offset, length }) => scratch.subarray(offset, offset + length)));
const contentOf = (parts: Parts): ContentPart[] =>
  parts.map(({ offset, length, inFile }) =>
    inFile ? { file, offset, length } : scratch.subarray(offset, offset + length),
  );

async function examine(coding: Coding, questions: Question[], keys: ChunkKeys | null): Promise<Finding[]> {
  using examined = await coding.examine({ questions, keys, digestSeed: SEED });
  const own = (bytes: Uint8Array) => new Uint8Array(bytes);
  return examined.findings.map((each) => ({ ...each, digests: own(each.digests), stored: own(each.stored) }));
}

/** As `unpack` takes it: stored chunks, one after the other. */
function packed(findings: readonly Finding[], sizes: readonly number[]): { bytes: Buffer; chunks: StoredChunk[] } {
  const bytes = Buffer.concat(findings.map(({ stored }) => stored));
  let offset = 0;
  const chunks = findings.map(({ id, stored }, at) => {
    offset += stored.length;
    return { id, offset: offset - stored.length, storedBytes: stored.length, contentBytes: sizes[at] ?? 0 };
  });
  return { bytes, chunks };
}

describe.each([
  ['plain', null],
  ['encrypted', KEYS],
])('%s', (_, keys) => {
  test('the addon finds what Node does, and each unpacks what the other has stored', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(question, { minLength: 1, maxLength: 6 }), async (asked) => {
        const questions = asked.map(({ parts, ...rest }) => ({ content: contentOf(parts), ...rest }));
        const [ours, nodes] = [await examine(addon, questions, keys), await examine(plainCodec, questions, keys)];
        for (const [at, finding] of ours.entries()) {
          expect(finding.isZero).toBe(nodes[at]?.isZero);
          expect(Buffer.compare(finding.digests, nodes[at]?.digests ?? Buffer.from('none'))).toBe(0);
          expect(finding.stored.length > 0).toBe((nodes[at]?.stored.length ?? 0) > 0);
        }
        const contents = asked.map(({ parts }) => bytesOf(parts)).filter((_, at) => (ours[at]?.stored.length ?? 0) > 0);
        for (const [from, to] of [
          [ours, plainCodec],
          [nodes, addon],
          [ours, addon],
        ] as const) {
          const stored = packed(
            from.filter((finding) => finding.stored.length > 0),
            contents.map(({ length }) => length),
          );
          const unpacked = await to.unpack({ ...stored, keys, digestSeed: SEED });
          expect(unpacked.damaged).toBeNull();
          expect(Buffer.concat(contents).equals(unpacked.contents)).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('whatever bit is flipped, and whatever size or id is said, nothing but the content comes out', async () => {
    const content = bytesOf([{ offset: 0, length: 100_000, inFile: false }]);
    const [finding] = await examine(addon, [{ content: [content], digests: false, stored: true }], keys);
    const { bytes, chunks } = packed([finding as Finding], [content.length]);
    const chunk = chunks[0] as StoredChunk;
    const isRefused = async (changed: Buffer, said: Partial<StoredChunk> = {}) => {
      const { damaged, contents } = await addon.unpack({
        bytes: changed,
        chunks: [{ ...chunk, ...said }],
        keys,
        digestSeed: null,
      });
      return damaged === 0 || content.equals(contents) === false;
    };
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length * 8 - 1), async (bit) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        const { damaged } = await addon.unpack({ bytes: changed, chunks, keys, digestSeed: null });
        expect(damaged).toBe(0);
      }),
      { numRuns: 200 },
    );
    for (const contentBytes of [content.length - 1, content.length + 1, 1, CHUNK_BYTES])
      expect(await isRefused(bytes, { contentBytes })).toBe(true);
    expect(await isRefused(bytes, { storedBytes: chunk.storedBytes - 1 })).toBe(true);
    expect(await isRefused(bytes, { storedBytes: 5 })).toBe(true);
    expect(await isRefused(bytes, { id: 'ab'.repeat(32) })).toBe(true);
  });
});

test('the first of several damaged chunks is named, and what was before it was written', async () => {
  const contents = [1, 2, 3].map((number) => Buffer.alloc(PAGE_BYTES * number, `${number}`));
  const questions = contents.map((content) => ({ content: [content], digests: false, stored: true }));
  const { bytes, chunks } = packed(
    await examine(addon, questions, null),
    contents.map(({ length }) => length),
  );
  bytes.writeUInt8(bytes.readUInt8((chunks[1]?.offset ?? 0) + 9) ^ 1, (chunks[1]?.offset ?? 0) + 9);
  const { damaged } = await addon.unpack({ bytes, chunks, keys: null, digestSeed: null });
  expect(damaged).toBe(1);
});

test('content is written to all its places', async () => {
  const content = randomBytes(3 * PAGE_BYTES);
  const { bytes, chunks } = packed(await examine(addon, [{ content: [content], digests: false, stored: true }], null), [
    content.length,
  ]);
  const path = join(directory, 'places');
  writeFileSync(path, '');
  const target = openSync(path, 'r+');
  const writes = [
    [target, 100, PAGE_BYTES, 10],
    [target, 0, 0, 50],
  ] as const;
  const answer = await addon.unpack({
    bytes,
    chunks: chunks.map((chunk) => ({ ...chunk, writes })),
    keys: null,
    digestSeed: SEED,
  });
  closeSync(target);
  const expected = Buffer.alloc(110);
  content.copy(expected, 0, 0, 50);
  content.copy(expected, 100, PAGE_BYTES, PAGE_BYTES + 10);
  expect(readFileSync(path).equals(expected)).toBe(true);
  expect(answer).toMatchObject({ damaged: null, contents: { length: 0 }, digests: { length: 24 } });
  rmSync(path);
});

test.each([
  ['the addon', addon],
  ["Node's modules", plainCodec],
])('%s: a full disk and a file that became shorter are told as what they are', async (_, coding) => {
  const content = randomBytes(PAGE_BYTES);
  const { bytes, chunks } = packed(
    await examine(coding, [{ content: [content], digests: false, stored: true }], null),
    [PAGE_BYTES],
  );
  const full = openSync('/dev/full', 'w');
  const onFull = chunks.map((chunk) => ({ ...chunk, writes: [[full, 0, 0, PAGE_BYTES]] as const }));
  await expect(coding.unpack({ bytes, chunks: onFull, keys: null, digestSeed: null })).rejects.toMatchObject({
    code: 'ENOSPC',
  });
  closeSync(full);
  const beyond = { content: [{ file, offset: SCRATCH_BYTES - 10, length: 20 }], digests: false, stored: true };
  await expect(coding.examine({ questions: [beyond], keys: null, digestSeed: 0n })).rejects.toThrow('became shorter');
});

test('a toolbox without the addon, or with one that this Node cannot load, is done without', () => {
  expect(CodecAddon.open(directory)).toBeNull();
});
