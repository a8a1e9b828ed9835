import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DIGEST_BYTES, keepDigests, PageDigests } from './pageDigests.ts';

const PAGES = 64 * 1024;
let disk: string;

beforeEach(async () => {
  disk = await mkdtemp(join(tmpdir(), 'floe-digests-'));
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
});
afterEach(async () => {
  await execa('umount', [disk]);
  await rm(disk, { recursive: true });
});

test('a full disk loses neither a freeze nor a thaw: what it has no room for is unknown', () => {
  const digests = randomBytes(PAGES * DIGEST_BYTES);
  const directory = join(disk, 'digests');
  {
    using created = PageDigests.create(directory, 5n);
    created.setPages(PAGES);
    for (let page = 0; page < PAGES; page += 1024)
      created.write(page, digests.subarray(page * DIGEST_BYTES, (page + 1024) * DIGEST_BYTES));
  }
  keepDigests(directory, '00000001-000001');
  using kept = PageDigests.open(directory, '00000001-000001', PAGES);
  expect(kept?.seed).toBe(5n);
  const read = Buffer.alloc(PAGES * DIGEST_BYTES);
  kept?.read(0, read);
  expect(read.subarray(0, 1024 * DIGEST_BYTES).equals(digests.subarray(0, 1024 * DIGEST_BYTES))).toBe(true);
  expect(read.subarray(-1024 * DIGEST_BYTES).equals(Buffer.alloc(1024 * DIGEST_BYTES))).toBe(true);
});
