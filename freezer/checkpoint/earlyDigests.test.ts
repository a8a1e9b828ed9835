/** Digests of images that still grow: they are those of the pages, and of nothing that is not there yet. */
import { randomBytes } from 'node:crypto';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Codec } from './codec.ts';
import { digestPages } from './digestPages.ts';
import { EarlyDigests } from './earlyDigests.ts';
import { PAGE_BYTES } from './format.ts';

const SEED = 9n;
const STEP_BYTES = 2 * 2 ** 20;
const codec = new Codec(null);
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-early-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Resolves when it is known of so much of an image; to its descriptor. */
async function untilKnown(early: EarlyDigests, name: string, length: number): Promise<number> {
  return await vi.waitFor(() => {
    const file = early.handleOf(name)?.fd ?? -1;
    expect(early.digestsOf([{ file, offset: 0, length }])).not.toBeNull();
    return file;
  });
}

test('are known of what there is, wherever it begins, and while more comes', async () => {
  const content = randomBytes(3 * STEP_BYTES + 5 * PAGE_BYTES);
  const path = join(directory, 'pages-1.img');
  await using early = new EarlyDigests(directory, codec, SEED);
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
  await using early = new EarlyDigests(directory, codec, SEED);
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
  await using early = new EarlyDigests(directory, codec, SEED);
  await writeFile(join(directory, 'pages-1.img'), randomBytes(STEP_BYTES));
  const file = await untilKnown(early, 'pages-1.img', STEP_BYTES);
  await rm(directory, { recursive: true });
  await early.stop();
  expect(early.digestsOf([{ file, offset: 0, length: STEP_BYTES }])).not.toBeNull();
});
