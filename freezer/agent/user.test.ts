/** Who a job runs as, for what users write and what images have. */
import { mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, onTestFinished, test } from 'vitest';
import { findUser, readIfThere } from './user.ts';

const PASSWD = `root:x:0:0:root:/root:/bin/bash
# not an entry
alice:x:1000:1001:Alice:/home/alice:/bin/sh
1000:x:7:8::/home/digits:
nobody:x:65534:65534:nobody::/usr/sbin/nologin
`;
const GROUP = `root:x:0:
staff:x:50:alice,root
video:x:44:bob,alice
users:x:1001:
`;

test.each([
  ['', { uid: 0, gid: 0, groups: [0, 50], home: '/root' }],
  ['root', { uid: 0, gid: 0, groups: [0, 50], home: '/root' }],
  ['alice', { uid: 1000, gid: 1001, groups: [1001, 50, 44], home: '/home/alice' }],
  ['alice:video', { uid: 1000, gid: 44, groups: [44], home: '/home/alice' }],
  ['alice:4711', { uid: 1000, gid: 4711, groups: [4711], home: '/home/alice' }],
  [':staff', { uid: 0, gid: 50, groups: [50], home: '/root' }],
  ['4711', { uid: 4711, gid: 0, groups: [0], home: '/' }],
  ['4711:users', { uid: 4711, gid: 1001, groups: [1001], home: '/' }],
  ['7', { uid: 7, gid: 8, groups: [8], home: '/home/digits' }],
  ['nobody', { uid: 65534, gid: 65534, groups: [65534], home: '/' }],
])('"%s" of an image with users', (user, expected) => {
  expect(findUser(user, PASSWD, GROUP)).toEqual(expected);
});

test('a name that is a number comes before the number', () => {
  expect(findUser('1000', PASSWD, GROUP)).toMatchObject({ uid: 7 });
});

test('numbers need no files', () => {
  expect(findUser('1000:1001', '', '')).toEqual({ uid: 1000, gid: 1001, groups: [1001], home: '/' });
  expect(findUser('', '', '')).toEqual({ uid: 0, gid: 0, groups: [0], home: '/' });
});

test.each([
  ['bob', '"bob"'],
  ['alice:nogroup', '"nogroup"'],
  ['4294967295', '"4294967295"'],
  ['-1', '"-1"'],
  ['64999:1', '64999'],
])('%s is refused by name', (user, name) => {
  const find = () => findUser(user, PASSWD, GROUP);
  expect(find).toThrow(expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(name) }));
});

async function folder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'floe-user-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  return directory;
}

test('a file is read, and one that is not there is empty', async () => {
  const path = join(await folder(), 'passwd');
  expect(await readIfThere(path)).toBe('');
  expect(await readIfThere(join(path, 'below'))).toBe('');
  await writeFile(path, PASSWD);
  expect(await readIfThere(path)).toBe(PASSWD);
});

test.each([
  ['a FIFO that nobody writes', (path: string) => execa('mkfifo', [path])],
  ['a device without an end', (path: string) => symlink('/dev/zero', path)],
  ['a link to itself', (path: string) => symlink(path, path)],
  ['a folder', (path: string) => symlink('/etc', path)],
  ['a file of any size', (path: string) => writeFile(path, '').then(() => truncate(path, 2 ** 40))],
])('%s instead of a file is refused at once', async (_, make) => {
  const path = join(await folder(), 'passwd');
  await make(path);
  await expect(readIfThere(path)).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining(path),
  });
});
