import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { expectStoreError, keysOf } from './conformance.ts';
import { getFolder, putFolder } from './folder.ts';
import { openStore } from './open.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-store-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('says that the disk is full, keeps what it has, and goes on when there is space again', async () => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder]);
  try {
    await using store = await openStore(pathToFileURL(folder).href);
    const content = randomBytes(3 * 2 ** 20);
    await store.create('first', content);
    await expectStoreError(store.create('second', content), 'full');
    await expectStoreError(store.putStream('second', Readable.from([content, content])), 'full');
    await expectStoreError(store.putStream('first', Readable.from([content, content])), 'full');
    expect(await keysOf(store, '')).toEqual(['first']);
    expect((await store.get('first')).equals(content)).toBe(true);
    expect(await readdir(join(folder, '~writing'))).toEqual([]);
    await store.delete(['first']);
    await store.create('second', content);
  } finally {
    execFileSync('umount', [folder]);
  }
});

it("shows what it keeps to nobody but the owner and the folder's group", async () => {
  const root = join(folder, 'store');
  await using store = await openStore(pathToFileURL(root).href);
  await store.create('jobs/a/secret', Buffer.from('memory'));
  for (const path of ['', 'jobs', 'jobs/a', 'jobs/a/secret']) {
    expect((await stat(join(root, path))).mode & 0o027, path).toBe(0);
  }
});

it('says that the disk is full when a folder does not fit, stored or unpacked', async () => {
  await using store = await openStore(pathToFileURL(join(folder, 'store')).href);
  const small = await mkdtemp(join(tmpdir(), 'floe-small-'));
  execFileSync('dd', ['if=/dev/urandom', `of=${join(folder, 'big')}`, 'bs=1M', 'count=3', 'status=none']);
  await putFolder(store, 'folder', folder, { include: ['big'] });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
  try {
    await expectStoreError(getFolder(store, 'folder', small), 'full');
    await using smallStore = await openStore(pathToFileURL(small).href);
    await expectStoreError(putFolder(smallStore, 'folder', folder, { include: ['big'] }), 'full');
  } finally {
    execFileSync('umount', [small]);
    await rm(small, { recursive: true });
  }
});

it('shows nothing of what a killed writer had begun', async () => {
  const url = pathToFileURL(folder).href;
  const program = `
    import { PassThrough } from 'node:stream';
    import { openStore } from ${JSON.stringify(new URL('./open.ts', import.meta.url).href)};
    const store = await openStore(${JSON.stringify(url)});
    await store.create('done', Buffer.from('done'));
    await store.putStream('replaced', new PassThrough().end('old'));
    for (const key of ['begun', 'replaced']) {
      const body = new PassThrough();
      store.putStream(key, body);
      body.write(Buffer.alloc(1_000_000));
    }
    setInterval(() => process.stdout.write('.'), 20);
  `;
  const writer = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(writer, 'exit');
  try {
    // Until bytes of both unfinished streams are on the disk.
    for await (const _ of writer.stdout) {
      const begun = await readdir(join(folder, '~writing')).catch(() => []);
      if (begun.length === 2) break;
    }
  } finally {
    writer.kill('SIGKILL');
    await exit;
  }
  await using store = await openStore(url);
  expect(await keysOf(store, '')).toEqual(['done', 'replaced']);
  expect(String(await store.get('replaced'))).toBe('old');
  await store.create('begun', Buffer.from('by another'));
});
