/** Checkpoints that are built on one another: what is sent, and that what is read is what there was. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { pagemapName } from '../criu/pagemap.ts';
import { Chain, type ObjectMemory } from '../testing/chain.ts';
import { checkpointKeys, PAGE_BYTES } from './format.ts';

const PROCESS = (1000n << 8n) | 1n;
const SHARED = (7n << 8n) | 2n;
const KEY = [randomBytes(32).toString('hex')];
const PAGES_PER_WINDOW = 64;
/** Index, and what compression adds to what does not compress. */
const AROUND_BYTES = 24 * 1024;

let directory: string;
let chain: Chain;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-increments-'));
  chain = await Chain.make(directory);
});

afterEach(async () => {
  await chain[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** Pages by number, of each object. */
type Model = Map<bigint, Map<number, Buffer>>;

function modelOf(pages: number, first = 100): Model {
  return new Map([[PROCESS, new Map(Array.from({ length: pages }, (_, at) => [first + at, randomBytes(PAGE_BYTES)]))]]);
}

function pagesOf(model: Model, object = PROCESS): Map<number, Buffer> {
  const pages = model.get(object) ?? new Map<number, Buffer>();
  model.set(object, pages);
  return pages;
}

/** In the order of their images' names and of their addresses, neighbours in one run. */
function memoryOf(model: Model): ObjectMemory[] {
  const objects = [...model].sort(([a], [b]) => pagemapName(a).localeCompare(pagemapName(b)));
  return objects.map(([object, pages]) => {
    const runs: { page: number; parts: Buffer[] }[] = [];
    for (const [page, content] of [...pages].sort(([a], [b]) => a - b)) {
      const last = runs.at(-1);
      if (last && last.page + last.parts.length === page) last.parts.push(content);
      else runs.push({ page, parts: [content] });
    }
    return { object, runs: runs.map(({ page, parts }) => ({ page, content: Buffer.concat(parts) })) };
  });
}

function expectSame(found: readonly ObjectMemory[], wanted: readonly ObjectMemory[]): void {
  const outline = (memory: readonly ObjectMemory[]) =>
    memory.map(({ object, runs }) => ({ object, runs: runs.map(({ page, content }) => [page, content.length]) }));
  expect(outline(found)).toEqual(outline(wanted));
  for (const [at, { runs }] of found.entries()) {
    const content = Buffer.concat(runs.map((run) => run.content));
    expect(content.equals(Buffer.concat(wanted[at]?.runs.map((run) => run.content) ?? []))).toBe(true);
  }
}

/** Takes the model's checkpoint and has it read back. */
async function take(model: Model): Promise<{ id: string; sentBytes: number; packBytes: number; packs: string[] }> {
  const before = await chain.packBytes();
  const { id, sentBytes, packs } = await chain.take(memoryOf(model));
  expectSame(await chain.read(id), memoryOf(model));
  return { id, sentBytes, packBytes: (await chain.packBytes()) - before, packs: packs.map(({ key }) => key) };
}

test('memory is cut at windows of the address space, however the stream arrives', async () => {
  const model = modelOf(3 * PAGES_PER_WINDOW + 7, 61);
  pagesOf(model).delete(150);
  const memory = memoryOf(model);
  await chain.take(memory, 2 ** 20);
  const before = await chain.packBytes();
  for (const splitBytes of [997, 4096, 5000, 65_536]) {
    chain.last = null;
    const manifest = await chain.take(memory, splitBytes);
    expectSame(await chain.read(manifest.id), memory);
  }
  chain.last = '00000001-000001';
  // Known by the ids of its chunks alone: they were the same each time.
  await chain.take(memory, 1501);
  expect(await chain.packBytes()).toBe(5 * before);
});

test('zeros cost nothing', async () => {
  const model: Model = new Map([
    [PROCESS, new Map(Array.from({ length: 1000 }, (_, at) => [at, Buffer.alloc(PAGE_BYTES)]))],
  ]);
  const { packs, sentBytes } = await take(model);
  expect(packs).toEqual([]);
  expect(sentBytes).toBeLessThan(1024);
});

describe.each([
  ['plain', undefined, false],
  ['encrypted', KEY, false],
  ['from images', undefined, true],
])('the second checkpoint, %s', (_, keys, isFromImages) => {
  let model: Model;
  let first: Awaited<ReturnType<typeof take>>;

  beforeEach(async () => {
    chain.keys = keys;
    chain.isFromImages = isFromImages;
    model = modelOf(32 * PAGES_PER_WINDOW);
    first = await take(model);
  });

  test('of what has not changed sends no pack', async () => {
    const { packBytes, sentBytes, packs } = await take(model);
    expect(packBytes).toBe(0);
    expect(packs).toEqual(first.packs);
    expect(sentBytes).toBeLessThan(AROUND_BYTES);
  });

  test('of a region that has changed sends that', async () => {
    for (let page = 640; page < 640 + 2 * PAGES_PER_WINDOW; page++) pagesOf(model).set(page, randomBytes(PAGE_BYTES));
    const { sentBytes } = await take(model);
    expect(sentBytes).toBeLessThan(2 * PAGES_PER_WINDOW * PAGE_BYTES + AROUND_BYTES);
  });

  test('of pages that have changed here and there sends about those', async () => {
    const changed = Array.from({ length: 60 }, (_each, at) => 110 + at * 33);
    for (const page of changed) pagesOf(model).set(page, randomBytes(PAGE_BYTES));
    const { sentBytes } = await take(model);
    expect(sentBytes).toBeLessThan(changed.length * PAGE_BYTES + AROUND_BYTES);
    expect(sentBytes).toBeLessThan((changed.length * 65_536) / 8);
  });

  test('of pages that appear and vanish sends those that appear', async () => {
    const pages = pagesOf(model);
    for (let page = 300; page < 310; page++) pages.delete(page);
    for (let page = 50_000; page < 50_010; page++) pages.set(page, randomBytes(PAGE_BYTES));
    pagesOf(model, SHARED).set(3, randomBytes(PAGE_BYTES));
    const { sentBytes } = await take(model);
    expect(sentBytes).toBeLessThan(11 * PAGE_BYTES + AROUND_BYTES);
    model.delete(SHARED);
    expect((await take(model)).packBytes).toBe(0);
  });

  test('of pages that became zeros sends nothing for them', async () => {
    for (let page = 200; page < 300; page++) pagesOf(model).set(page, Buffer.alloc(PAGE_BYTES));
    pagesOf(model).set(1000, Buffer.alloc(PAGE_BYTES));
    expect((await take(model)).packBytes).toBe(0);
    // And of those that were zeros what they are now.
    pagesOf(model).set(1000, randomBytes(PAGE_BYTES));
    expect((await take(model)).packBytes).toBeLessThan(2 * PAGE_BYTES);
  });

  test('knows whole windows at other addresses by their ids', async () => {
    const moved: Model = new Map([[PROCESS, new Map()]]);
    for (const [page, content] of pagesOf(model)) pagesOf(moved).set(page + 1000 * PAGES_PER_WINDOW, content);
    expect((await take(moved)).packBytes).toBe(0);
  });

  test.each([
    ['missing', () => rm(chain.digestsDirectory, { recursive: true })],
    ['of another checkpoint', () => renameDigests('00000009-000009')],
    ['cut off', async () => truncate(join(chain.digestsDirectory, first.id), 800)],
  ])('knows whole windows when the digests are %s', async (_name, damage) => {
    await damage();
    pagesOf(model).set(700, randomBytes(PAGE_BYTES));
    const { packBytes } = await take(model);
    expect(packBytes).toBeGreaterThan(PAGE_BYTES * (PAGES_PER_WINDOW - 1));
    expect(packBytes).toBeLessThan(PAGE_BYTES * (PAGES_PER_WINDOW + 1));
  });

  test('after a thaw elsewhere sends as little as any', async () => {
    pagesOf(model).set(900, Buffer.alloc(PAGE_BYTES));
    const { id } = await take(model);
    await rm(chain.digestsDirectory, { recursive: true });
    expectSame(await chain.read(id, { keepDigests: true }), memoryOf(model));
    pagesOf(model).set(700, randomBytes(PAGE_BYTES));
    expect((await take(model)).packBytes).toBeLessThan(2 * PAGE_BYTES);
    expect((await take(model)).packBytes).toBe(0);
  });

  test('is a full one when the first cannot be used', async () => {
    const key = chain.prefix + checkpointKeys.index(first.id);
    const index = await chain.store.get(key);
    await chain.store.delete([key]);
    await chain.store.create(key, Buffer.concat([Buffer.from([1 ^ index.readUInt8(0)]), index.subarray(1)]));
    await expectFull();
  });

  test('is a full one when the first is of another version', async () => {
    const key = chain.prefix + checkpointKeys.manifest(first.id);
    const manifest = JSON.parse((await chain.store.get(key)).toString());
    await chain.store.delete([key]);
    await chain.store.create(key, Buffer.from(JSON.stringify({ ...manifest, version: 1 })));
    await expectFull();
  });

  test('is a full one when the first is not there', async () => {
    chain.last = '00000001-000099';
    await expectFull();
  });

  test('is a full one with another key', async () => {
    chain.keys = [randomBytes(32).toString('hex')];
    await expectFull();
  });

  async function expectFull(): Promise<void> {
    const { packBytes, packs } = await take(model);
    expect(packBytes).toBeGreaterThan(32 * PAGES_PER_WINDOW * PAGE_BYTES);
    expect(packs).not.toContain(first.packs[0]);
  }

  async function renameDigests(id: string): Promise<void> {
    const bytes = await readFile(join(chain.digestsDirectory, first.id));
    await rm(join(chain.digestsDirectory, first.id));
    await writeFile(join(chain.digestsDirectory, id), bytes);
  }
});

test('a window that the stream comes back to, and a page that is sent twice, come back as they were sent', async () => {
  const run = (page: number, pages: number) => ({ page, content: randomBytes(pages * PAGE_BYTES) });
  const memory = [
    { object: PROCESS, runs: [run(70, 3), run(200, 5), run(64, 2), run(66, 1), run(66, 1), run(68, 70)] },
  ];
  for (const _generation of [1, 2, 3]) {
    const { id } = await chain.take(memory);
    expectSame(await chain.read(id), memory);
    memory[0]?.runs[2]?.content.fill(randomBytes(1)[0] ?? 1, 0, 10);
  }
});

test('old packs are left behind when little of them is in use, so that storage stays bounded', async () => {
  const model = modelOf(16 * PAGES_PER_WINDOW);
  await take(model);
  const sizes: number[] = [];
  for (let generation = 0; generation < 20; generation++) {
    for (const page of pagesOf(model).keys()) {
      if (Math.random() < 0.2) pagesOf(model).set(page, randomBytes(PAGE_BYTES));
    }
    const { id } = await take(model);
    const { packs } = JSON.parse((await chain.store.get(chain.prefix + checkpointKeys.manifest(id))).toString());
    sizes.push(packs.reduce((sum: number, { sizeBytes }: { sizeBytes: number }) => sum + sizeBytes, 0));
  }
  expect(Math.max(...sizes)).toBeLessThan(2.5 * 16 * PAGES_PER_WINDOW * PAGE_BYTES);
}, 60_000);

test('only the digests of the last checkpoint are kept', async () => {
  const model = modelOf(3);
  await take(model);
  const { id } = await take(model);
  expect(await readdir(chain.digestsDirectory)).toEqual([id]);
});

/** What a program may do to its memory between two checkpoints, and what may happen to the worker. */
const page = fc.nat({ max: 5 * PAGES_PER_WINDOW });
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('write' as const), page, pages: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('write' as const), page, pages: fc.integer({ min: 1, max: 150 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('clear' as const), page, pages: fc.integer({ min: 1, max: 99 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('drop' as const), page, pages: fc.integer({ min: 1, max: 99 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('copy' as const), page, pages: fc.integer({ min: 1, max: 99 }) }),
  },
);
const generation = fc.record({
  object: fc.constantFrom(PROCESS, SHARED),
  steps: fc.array(step, { maxLength: 8 }),
  digests: fc.constantFrom('kept', 'kept', 'lost', 'thawed'),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function change(pages: Map<number, Buffer>, { do: what, page: first, pages: count }: Step): void {
  for (let at = first; at < first + count; at++) {
    if (what === 'write') pages.set(at, randomBytes(PAGE_BYTES));
    if (what === 'clear') pages.set(at, Buffer.alloc(PAGE_BYTES));
    if (what === 'drop') pages.delete(at);
    const source = pages.get(at);
    if (what === 'copy' && source) pages.set(at + 64, source);
  }
}

describe('memory that is stored while it is dumped', () => {
  /** Off a window's beginning, so that none is one chunk. */
  const FIRST_PAGE = 77;
  const shifted = (pages: number): Model =>
    new Map([[PROCESS, new Map(Array.from({ length: pages }, (_, at) => [FIRST_PAGE + at, randomBytes(PAGE_BYTES)]))]]);

  test.each([
    ['plain', undefined],
    ['encrypted', KEY],
  ])('is what it was, %s, and so are the increments that build on it', async (_, keys) => {
    Object.assign(chain, { keys, isFromImages: true, mayStore: true });
    const model = shifted(64 * PAGES_PER_WINDOW);
    for (let page = 1000; page < 1200; page++) pagesOf(model).set(page, Buffer.alloc(PAGE_BYTES));
    const { id } = await take(model);
    const index = await chain.index(id);
    // Otherwise this tests nothing: windows that begin in the midst of one chunk and end in the next.
    expect(index.memory[0]?.pieces.some((piece) => typeof piece === 'object' && piece[0] >= 0)).toBe(true);
    pagesOf(model).set(500, randomBytes(PAGE_BYTES));
    expect((await take(model)).packBytes).toBeLessThan(1.1 * PAGE_BYTES);
    for (let page = 100; page < 400; page++) pagesOf(model).set(page, randomBytes(PAGE_BYTES));
    expect((await take(model)).packBytes).toBeLessThan(1.1 * 400 * PAGE_BYTES);
  });
});

test.each([
  ['plain', undefined, false],
  ['encrypted', KEY, false],
  ['from images', undefined, true],
])(
  'any sequence of changes comes back byte for byte, at each checkpoint, %s',
  async (_, keys, isFromImages) => {
    await fc.assert(
      fc.asyncProperty(fc.array(generation, { minLength: 2, maxLength: 20, size: 'max' }), async (generations) => {
        const own = await mkdtemp(join(tmpdir(), 'floe-increments-'));
        try {
          await using any = await Chain.make(own, keys);
          Object.assign(any, { isFromImages, mayStore: isFromImages });
          const model: Model = new Map();
          const taken: { id: string; memory: ObjectMemory[] }[] = [];
          for (const { object, steps, digests } of generations) {
            for (const each of steps) change(pagesOf(model, object), each);
            if (digests === 'lost') await rm(any.digestsDirectory, { recursive: true, force: true });
            if (digests === 'thawed' && any.last) {
              await rm(any.digestsDirectory, { recursive: true, force: true });
              await any.read(any.last, { keepDigests: true });
            }
            const memory = memoryOf(model);
            const { id } = await any.take(memory, 50_000);
            expectSame(await any.read(id), memory);
            taken.push({ id, memory });
          }
          // And those before are what they were.
          for (const { id, memory } of taken) expectSame(await any.read(id), memory);
        } finally {
          await rm(own, { recursive: true, force: true });
        }
      }),
      { numRuns: 4, endOnFailure: true },
    );
  },
  120_000,
);
