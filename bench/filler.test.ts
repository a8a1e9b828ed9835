/** The program that is measured, and what fixed windows would send of it, on a real one outside of any container. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_BYTES } from './changes.ts';
import { type Content, Filler, putFiller } from './filler.ts';
import { changeBytes, windowsBytes } from './windows.ts';

const SIZE_BYTES = 4 * 2 ** 20;
const KIB = 1024;

let directory: string;
let stack: AsyncDisposableStack;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  directory = await mkdtemp(join(tmpdir(), 'floe-filler-'));
  stack.defer(() => rm(directory, { recursive: true }));
  await putFiller(directory);
});
afterEach(() => stack.disposeAsync());

async function start(content: Content): Promise<{ filler: Filler; pid: number }> {
  const args = [join(directory, 'state'), String(SIZE_BYTES), content];
  const program = spawn(join(directory, 'filler'), args, { stdio: 'ignore' });
  const ended = once(program, 'exit');
  stack.defer(async () => {
    program.kill('SIGKILL');
    await ended;
  });
  const filler = stack.use(await Filler.find(directory, new AbortController().signal));
  return { filler, pid: program.pid ?? 0 };
}

async function memory(pid: number, base: bigint): Promise<Buffer> {
  await using file = await open(`/proc/${pid}/mem`);
  return (await file.read({ buffer: Buffer.alloc(SIZE_BYTES), position: base })).buffer;
}

test('changes just the pages that it is told to', async () => {
  const { filler, pid } = await start('compressible');
  const base = await filler.base();
  const before = await memory(pid, base);
  await filler.change([3, 700]);
  const after = await memory(pid, base);
  const differ = Array.from({ length: SIZE_BYTES / PAGE_BYTES }, (_, page) => page).filter((page) => {
    const range = [page * PAGE_BYTES, (page + 1) * PAGE_BYTES] as const;
    return !before.subarray(...range).equals(after.subarray(...range));
  });
  expect(differ).toEqual([3, 700]);
  await filler.sweep();
  await filler.verify();
});

test('finds a single byte that is wrong', async () => {
  const { filler, pid } = await start('incompressible');
  await using file = await open(`/proc/${pid}/mem`, 'r+');
  await file.write(Buffer.of(1, 2), 0, 2, Number(await filler.base()) + 5 * PAGE_BYTES + 4000);
  await expect(filler.verify()).rejects.toThrow('1 pages');
});

test('knows when it did not run', async () => {
  const { filler, pid } = await start('compressible');
  const before = Date.now();
  process.kill(pid, 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 100));
  const resumedAt = Date.now();
  process.kill(pid, 'SIGCONT');
  expect(await filler.firstRanAfter(resumedAt)).toBeGreaterThanOrEqual(resumedAt);
  expect(await filler.longestPauseSince(before)).toBeGreaterThan(80);
});

describe('what would be sent', () => {
  test('of what does not compress: every window whole, or the pages alone', async () => {
    const { filler, pid } = await start('incompressible');
    const changed = { pid, base: await filler.base(), sizeBytes: SIZE_BYTES, pages: [0, 1, 600] };
    expect(await changeBytes(changed)).toBe(3 * PAGE_BYTES);
    // The memory may begin within a window, which then is sent from there on.
    const sent = await windowsBytes(changed, 64 * KIB);
    expect(sent).toBeGreaterThan(64 * KIB);
    expect(sent).toBeLessThanOrEqual(3 * 64 * KIB);
  });

  test('of what does: about a third', async () => {
    const { filler, pid } = await start('compressible');
    const pages = Array.from({ length: SIZE_BYTES / PAGE_BYTES }, (_, page) => page);
    const changed = { pid, base: await filler.base(), sizeBytes: SIZE_BYTES, pages };
    const ratio = SIZE_BYTES / (await windowsBytes(changed, 256 * KIB));
    expect(ratio).toBeGreaterThan(2.5);
    expect(ratio).toBeLessThan(3.5);
  });
});
