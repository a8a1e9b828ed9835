/** Lists of files that somebody else wrote. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FileEntry, Index } from './format.ts';
import { makeFiles } from './makeFiles.ts';

const attributes = { mode: 0o4777, uid: 0, gid: 0, modifiedAtMs: 0 };
const folder = (path: string): FileEntry => ({ type: 'directory', path, ...attributes });
const file = (path: string): FileEntry => ({ type: 'file', path, sizeBytes: 0, pieces: [], ...attributes });
const symlink = (path: string): FileEntry => ({ type: 'symlink', path, target: '/etc', ...attributes });

describe('a list of files that could reach out of its folder is refused', () => {
  let root: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'floe-files-'));
  });

  afterEach(() => rm(root, { recursive: true, force: true }));

  test.each([
    ['a file through a link', [folder('w'), symlink('w/d'), file('w/d/evil')]],
    ['a link in the place of a folder', [folder('w'), symlink('w/d'), folder('w/d')]],
    ['a moving folder that is a link', [symlink('w')]],
    [
      'a link to what is not a file of the list',
      [folder('w'), { type: 'link', path: 'w/l', target: 'w/none' } as const],
    ],
    ['a folder that is missing', [file('w/f')]],
  ])('%s', async (_, entries) => {
    await expect(makeFiles(root, entries)).rejects.toMatchObject({ code: 'corrupt' });
    expect(await readdir(root)).toEqual([]);
  });
});

describe('an index is refused that has', () => {
  const holding = (entry: object) =>
    Index.safeParse({ chunks: [], memory: [], images: [], files: [{ ...file('w'), ...entry }] }).success;

  test.each([
    ['a path out of the folder', { path: '../w' }],
    ["an attribute of the machine's own", { xattrs: [['security.selinux', 'eA==']] }],
    ['an attribute that overlays mean something by', { xattrs: [['trusted.overlay.redirect', 'eA==']] }],
    ['a value that is not base64', { xattrs: [['user.x', '0x1']] }],
    [
      'data ranges out of order',
      {
        dataRanges: [
          [4096, 4096],
          [0, 4096],
        ],
      },
    ],
    [
      'data ranges that overlap',
      {
        dataRanges: [
          [0, 4097],
          [4096, 4096],
        ],
      },
    ],
  ])('%s', (_, entry) => {
    expect(
      holding({
        xattrs: [['user.x', 'eA==']],
        dataRanges: [
          [0, 4096],
          [4096, 1],
        ],
      }),
    ).toBe(true);
    expect(holding(entry)).toBe(false);
  });
});
