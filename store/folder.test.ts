import { execFileSync } from 'node:child_process';
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { expectStoreError } from './conformance.ts';
import { getFolder, putFolder } from './folder.ts';
import { openStore } from './open.ts';
import type { Store } from './store.ts';

let base: string;
let source: string;
let target: string;
let store: Store;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'floe-folder-'));
  [source, target] = [join(base, 'source'), join(base, 'target')];
  await mkdir(source);
  store = await openStore(pathToFileURL(join(base, 'store')).href);
});
// Node's own rm takes no paths that are too long for the kernel.
afterEach(() => void execFileSync('rm', ['-rf', '--', base]));

const fill = async (...names: string[]) => {
  for (const name of names) {
    await mkdir(join(source, name, '..'), { recursive: true });
    await writeFile(join(source, name), name);
  }
};
const unpacked = async () => (await readdir(target, { recursive: true })).sort();

it('keeps contents, modes, times, links and odd names', async () => {
  await fill('a/b/c.txt', '@archive', '-dash', 'ünï cöde\n', '.hidden', 'a/[x]*', 'script');
  await mkdir(join(source, 'empty'));
  await chmod(join(source, 'script'), 0o755);
  await chmod(join(source, '.hidden'), 0o600);
  await chmod(join(source, 'a'), 0o777);
  await chmod(join(source, '@archive'), 0o666);
  await utimes(join(source, 'a/b/c.txt'), 1_000_000_000, 1_000_000_000);
  await symlink('b/c.txt', join(source, 'a/inside'));
  await symlink('/usr/bin/env', join(source, 'absolute'));
  await symlink('../../above', join(source, 'a/above'));
  await symlink('nowhere', join(source, 'dangling'));
  await link(join(source, 'script'), join(source, 'twin'));
  await writeFile(join(source, 'big'), Buffer.alloc(5_000_000, 'x'));

  let progress = 0;
  const onProgress = (bytes: number) => {
    progress = bytes;
  };
  const { sizeBytes, files, unmatched } = await putFolder(store, 'folder', source, { onProgress });
  expect({ files, unmatched }).toEqual({ files: 13, unmatched: [] });
  expect(sizeBytes).toBe((await store.get('folder')).length);
  expect(progress).toBeGreaterThan(5_000_000);
  await getFolder(store, 'folder', target);

  execFileSync('diff', ['--recursive', '--no-dereference', source, target]);
  const modes = async (folder: string) =>
    Promise.all(
      ['script', '.hidden', '@archive', 'a', 'empty'].map(async (name) => (await lstat(join(folder, name))).mode),
    );
  expect(await modes(target)).toEqual(await modes(source));
  expect((await lstat(join(target, 'a/b/c.txt'))).mtimeMs).toBe(1_000_000_000_000);
  expect((await lstat(join(target, 'twin'))).ino).toBe((await lstat(join(target, 'script'))).ino);
  expect(await readlink(join(target, 'absolute'))).toBe('/usr/bin/env');
});

it('takes only what is included, once, and says what is not there', async () => {
  await fill('out/a.txt', 'out/b.bin', 'logs/1.log', 'logs/deep/2.log', 'other', '[x]');
  const include = ['out/', './out/a.txt', '**/*.log', '[x]', 'missing', '*.none'];
  const { files, unmatched } = await putFolder(store, 'some', source, { include });
  expect({ files, unmatched }).toEqual({ files: 5, unmatched: ['missing', '*.none'] });
  await getFolder(store, 'some', target);
  expect(await unpacked()).toEqual(
    ['[x]', 'logs', 'logs/1.log', 'logs/deep', 'logs/deep/2.log', 'out', 'out/a.txt', 'out/b.bin'].sort(),
  );
});

it('stores an empty selection, and an empty folder', async () => {
  expect(await putFolder(store, 'none', source, { include: ['nothing'] })).toMatchObject({
    files: 0,
    unmatched: ['nothing'],
  });
  expect(await putFolder(store, 'empty', source)).toMatchObject({ files: 0, unmatched: [] });
  for (const key of ['none', 'empty']) await getFolder(store, key, target);
  expect(await unpacked()).toEqual([]);
});

it('takes everything for "."', async () => {
  await fill('a', 'b/c');
  expect(await putFolder(store, 'all', source, { include: ['.'] })).toMatchObject({ files: 2 });
});

it.each(['..', '../x', '/etc/passwd', 'a/../../x', '../*'])('refuses to include %s', async (pattern) => {
  await expectStoreError(putFolder(store, 'key', source, { include: [pattern] }), 'invalid');
});

it('says that the folder or the object is not there', async () => {
  await expectStoreError(putFolder(store, 'key', join(base, 'nowhere')), 'notFound');
  await expectStoreError(getFolder(store, 'key', target), 'notFound');
});

it('replaces files of the same name and leaves the others', async () => {
  await fill('same');
  await putFolder(store, 'key', source);
  await mkdir(target);
  await writeFile(join(target, 'same'), 'old and longer');
  await writeFile(join(target, 'other'), 'stays');
  await getFolder(store, 'key', target);
  expect(await readFile(join(target, 'same'), 'utf8')).toBe('same');
  expect(await readFile(join(target, 'other'), 'utf8')).toBe('stays');
});

it('calls a broken archive damaged', async () => {
  await fill('a', 'b');
  await writeFile(join(source, 'random'), crypto.getRandomValues(Buffer.alloc(60_000)));
  await putFolder(store, 'whole', source);
  const whole = await store.get('whole');
  const flipped = Buffer.from(whole);
  flipped.fill(0xff, 100, 200);
  await store.create('cut', whole.subarray(0, whole.length / 2));
  await store.create('flipped', flipped);
  await store.create('text', Buffer.from('not an archive'));
  await store.create('nothing', Buffer.alloc(0));
  for (const key of ['cut', 'flipped', 'text', 'nothing'])
    await expectStoreError(getFolder(store, key, target), 'damaged');
});

/** What `putFolder` stored before it had a format of its own: by the package `tar` 7.5. */
const OLD_OBJECT = [
  'KLUv/WAAHyUNAPaROCKQqw25+93dcR19QqA52TC/HfnmWq5CuI8wpaSdMrCbNVPvLQAuADIAk5fsp8Mk0cRYLX/r3KU0QZDIiUpV',
  'SaIUTcqp9bx3VXnb9lrT5lbVcs5VVbEYCI1LueGnAOe0uT6BL5SPKSlWc/OwIcXI0rYVtdrj11y71827u98ziXyiJFTiIRAI4PpV',
  'A+Uj/rQEU0NpmdESPOAzGSvQLHT8hD6wTUCf9zKE/GRumtU9OJEPIGEoEAYBq1a3biuhuWBOO2/PjH4yX2cOi62dlT5uZ+92fMk8',
  'JiO9lB6i4OX1nxRJMT5OoJEpQszM0ExptTAG0GxkJEnbDvx/JV8+oqIWx3VArVWRFidof+INfm2gVsAxUIUMq4QMWFI5NgDVAeEI',
  'G4CQL79Nol6oAg/MzvE4OQNYgwCHARmoLiJwEJht3Z4q5DxVX1G68QNUOvBXOYKSK6S1hRO+tgGmMFe5SDXtRBrIFjEdcVMiPtPH',
  'MCF1O0OlTJmgq+eOZ4BWfGMbsK0WAMVpplqlgGl7gNNw/Mq5mvtNKhgyeEkCruT7Ul4E8ancAQ==',
].join('');

it('reads what the version before has stored', async () => {
  await store.putStream('old', Readable.from([Buffer.from(OLD_OBJECT, 'base64')]));
  await getFolder(store, 'old', target);
  const long = 'n'.repeat(120);
  expect(await unpacked()).toEqual(['a', 'a/b', 'a/b/file', 'a/inside', 'absolute', long, 'twin', 'ünï'].sort());
  const file = await lstat(join(target, 'a/b/file'));
  expect([file.mode & 0o777, file.nlink, file.mtimeMs]).toEqual([0o755, 2, 1_000_000_000_000]);
  expect(await readFile(join(target, 'twin'), 'utf8')).toBe('content');
  expect(await readFile(join(target, long), 'utf8')).toBe('long');
  expect([await readlink(join(target, 'absolute')), await readlink(join(target, 'a/inside'))]).toEqual([
    '/usr/bin/env',
    'b/file',
  ]);
});

it('refuses paths that are too long to be read', async () => {
  const script = '(mkdir "nested" and chdir "nested") or die $! for 1..3000';
  execFileSync('perl', ['-e', script], { cwd: source });
  await expectStoreError(putFolder(store, 'key', source), 'invalid');
  await expectStoreError(store.get('key'), 'notFound');
});

it('stops with the reason of an abort', async () => {
  await fill('a');
  await writeFile(join(source, 'big'), Buffer.alloc(50_000_000, 'x'));
  const controller = new AbortController();
  const reason = new Error('enough');
  const onProgress = () => controller.abort(reason);
  const { signal } = controller;
  await expect(putFolder(store, 'key', source, { signal, onProgress })).rejects.toBe(reason);
  await expectStoreError(store.get('key'), 'notFound');
  await putFolder(store, 'key', source);
  await expect(getFolder(store, 'key', target, { signal })).rejects.toBe(reason);
});
