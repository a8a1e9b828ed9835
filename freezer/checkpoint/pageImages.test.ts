/** What is read from images, and those that do not belong together. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { encodePagemap, type PageRange } from '../criu/pagemap.ts';
import { bytesOf, type FilePart } from './content.ts';
import { PAGE_BYTES } from './format.ts';
import { PageImages } from './pageImages.ts';

const [PRESENT, PARENT] = [4, 1];
const PROCESS = (1000n << 8n) | 1n;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-images-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function dump(name: string, pagesId: number, ranges: readonly PageRange[], pages: number): Promise<Buffer> {
  const content = Buffer.alloc(pages * PAGE_BYTES);
  for (let page = 0; page < pages; page++) content.fill(page % 251, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  await writeFile(join(directory, name), encodePagemap(pagesId, ranges));
  await writeFile(join(directory, `pages-${pagesId}.img`), content);
  return content;
}

async function readAll(images: PageImages): Promise<{ told: string[]; content: Buffer }> {
  const told: string[] = [];
  const parts: Buffer[] = [];
  const sink = {
    open: (object: bigint) => void told.push(`open ${object}`),
    range: (_object: bigint, address: bigint, pages: number, flags: number) =>
      void told.push(`${address.toString(16)}: ${pages} ${flags}`),
    data: (_address: bigint, part: FilePart) => void parts.push(Buffer.from(bytesOf([part], new Uint8Array(2 ** 21)))),
    close: () => void told.push('close'),
  };
  await images.read(sink, async () => undefined);
  return { told, content: Buffer.concat(parts) };
}

test('ranges and pages come in order, also when the images have no name any more', async () => {
  const ranges: PageRange[] = [
    [0x1000n, 1, PRESENT],
    [0x5000n, 7, PARENT],
    [0x10000000n, 1100, PRESENT],
  ];
  const content = await dump('pagemap-1000.img', 1, ranges, 1101);
  await writeFile(join(directory, 'core-1000.img'), 'not for here');
  await using images = await PageImages.open(directory);
  expect(await readdir(directory)).toEqual(['core-1000.img', 'pagemap-1000.img']);
  expect(images.sizeBytes).toBe(content.length);
  const read = await readAll(images);
  expect(read.told).toEqual([`open ${PROCESS}`, '1000: 1 4', '5000: 7 1', '10000000: 1100 4', 'close']);
  expect(read.content.equals(content)).toBe(true);
});

test.each([
  ['fewer pages than are described', [[0x1000n, 2, PRESENT]], 1],
  ['more pages than are described', [[0x1000n, 1, PRESENT]], 2],
  ['a range beyond all memory', [[2n ** 60n, 1, PRESENT]], 1],
  ['an address within a page', [[0x1001n, 1, PRESENT]], 1],
  ['more pages than there can be', [[0x1000n, 2 ** 40, PARENT]], 0],
] satisfies [string, PageRange[], number][])('%s: refused', async (_what, ranges, pages) => {
  await dump('pagemap-shmem-7.img', 3, ranges, pages);
  await expect(PageImages.open(directory)).rejects.toMatchObject({ code: 'dumpFailed' });
});
