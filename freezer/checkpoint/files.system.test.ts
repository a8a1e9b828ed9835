/** Files through the walk, a store, and back: everything that a program could have noticed about them. */
import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../store/index.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { KeyRing } from '../encryption/keyRing.ts';
import { removeFolder } from '../run/removeFolder.ts';
import { toolCommand } from '../toolbox.ts';
import { ChunkWriter } from './chunkWriter.ts';
import { Codec } from './codec.ts';
import { attributeReader, readExtendedAttributes } from './extendedAttributes.ts';
import { FileFiller } from './fileFiller.ts';
import { CHUNK_BYTES, Index, type Manifest } from './format.ts';
import { finishFiles, makeFiles } from './makeFiles.ts';
import type { OpenedCheckpoint } from './openCheckpoint.ts';
import { CheckpointReader } from './reader.ts';
import { saveFiles } from './saveFiles.ts';

const PREFIX = 'jobs/a/';
const ID = '00000001-000001';
const toolboxDirectory = defaultToolbox();

let directory: string;
let store: Store;
const codec = new Codec(toolboxDirectory);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-files-'));
  store = await openStore(`file://${join(directory, 'store')}`);
});

afterEach(() => removeFolder(directory));

async function save(source: string): Promise<{ opened: OpenedCheckpoint; readBytes: number }> {
  const writer = new ChunkWriter({
    store,
    prefix: PREFIX,
    checkpointId: ID,
    codec,
    base: null,
    keys: null,
    digestSeed: 0n,
  });
  let readBytes = 0;
  const readAttributes = await attributeReader(source, toolboxDirectory);
  const onRead = (bytes: number) => (readBytes += bytes);
  const files = await saveFiles(source, { toolboxDirectory, writer, readAttributes, onRead });
  const { packs, chunks } = await writer.finish();
  await writer.sent();
  // As it is after a stay in the store.
  const index = Index.parse({ chunks, memory: [], images: [], files });
  return { opened: { manifest: { id: ID, packs } as unknown as Manifest, index, keys: null }, readBytes };
}

async function restore(opened: OpenedCheckpoint, root: string): Promise<void> {
  const { index } = opened;
  await makeFiles(root, index.files);
  const destinations = index.files.flatMap((entry) =>
    entry.type === 'file' ? [{ ...entry, path: join(root, entry.path) }] : [],
  );
  const source = { store, prefix: PREFIX, keyRing: KeyRing.of() };
  const reader = new CheckpointReader(source, opened, codec);
  using filler = new FileFiller(destinations, index.chunks);
  await reader.readChunks(filler.wanted, (chunk, content) => void filler.fill(chunk, content));
  filler.finish();
  await finishFiles(root, index.files, toolboxDirectory);
}

/** Makes a workspace, moves it, and tells where it is then. */
async function roundTrip(make: (workspace: string) => Promise<void>): Promise<string> {
  const source = join(directory, 'source');
  await mkdir(join(source, 'workspace'), { recursive: true });
  await make(join(source, 'workspace'));
  const { opened } = await save(source);
  const root = join(directory, 'target');
  await mkdir(root);
  await restore(opened, root);
  return join(root, 'workspace');
}

/** `value` as setfattr(1) takes it. */
async function setAttribute(path: string, name: string, value: string): Promise<void> {
  const [program, ...prefix] = toolCommand('setfattr', toolboxDirectory);
  await execa(program, [...prefix, '-h', '-n', name, '-v', value, '--', path]);
}

describe('there and back', () => {
  test('a thousand small files, an empty one and a large one', async () => {
    const large = randomBytes(6 * 2 ** 20 + 7);
    const root = await roundTrip(async (source) => {
      await writeFile(join(source, 'large'), large);
      await writeFile(join(source, 'empty'), '');
      for (let at = 0; at < 1000; at++) await writeFile(join(source, `small-${at}`), `content ${at}`);
    });
    expect(await readdir(root)).toHaveLength(1002);
    expect((await readFile(join(root, 'large'))).equals(large)).toBe(true);
    expect((await stat(join(root, 'empty'))).size).toBe(0);
    expect(await readFile(join(root, 'small-999'), 'utf8')).toBe('content 999');
  });

  test('times and modes of files and folders', async () => {
    const root = await roundTrip(async (source) => {
      await mkdir(join(source, 'folder'));
      await writeFile(join(source, 'folder', 'file'), 'x', { mode: 0o640 });
      await utimes(join(source, 'folder', 'file'), 1_000_000, 1_000_000.5);
      await chmod(join(source, 'folder'), 0o1770);
      await utimes(join(source, 'folder'), 1, 2_000_000);
    });
    const file = await stat(join(root, 'folder', 'file'));
    expect([file.mode & 0o7777, file.mtimeMs]).toEqual([0o640, 1_000_000_500]);
    const folder = await stat(join(root, 'folder'));
    expect([folder.mode & 0o7777, folder.mtimeMs]).toEqual([0o1770, 2_000_000_000]);
  });

  test('extended attributes, access control lists and file capabilities, whatever the names', async () => {
    const names = [
      'plain',
      'with space',
      'new\nline',
      'return\r',
      'back\\slash \\012',
      'a=b "q" #',
      '-dash',
      '# file: x',
    ];
    const capability = '0x0100000202040000000000000000000000000000';
    const accessList = '0x0200000001000600ffffffff020006000500000004000400ffffffff10000600ffffffff20000400ffffffff';
    const root = await roundTrip(async (source) => {
      await mkdir(join(source, 'ü\u2028'));
      await symlink('/etc', join(source, 'link'));
      for (const name of names) {
        const path = join(source, 'ü\u2028', name);
        await writeFile(path, 'x');
        await setAttribute(path, `user.of ${name}`, '0x00ff0a');
        await setAttribute(path, 'user.empty', '0x');
        await chown(path, 1234, 1234);
        await setAttribute(path, 'security.capability', capability);
        await setAttribute(path, 'system.posix_acl_access', accessList);
      }
      await setAttribute(join(source, 'ü\u2028'), 'system.posix_acl_default', accessList);
      await setAttribute(join(source, 'link'), 'trusted.of-a-link', '0x31');
      await setAttribute(source, 'user.of-the-folder', `0x${'ab'.repeat(2000)}`);
    });
    const before = await readExtendedAttributes(join(directory, 'source'), toolboxDirectory);
    const after = await readExtendedAttributes(join(directory, 'target'), toolboxDirectory);
    expect([...before.keys()].sort()).toEqual(
      [...names.map((name) => `/ü\u2028/${name}`), '/ü\u2028', '/link', ''].map((path) => `workspace${path}`).sort(),
    );
    const base64 = (hex: string) => Buffer.from(hex.slice(2), 'hex').toString('base64');
    expect(Object.fromEntries(before.get('workspace/ü\u2028/new\nline') ?? [])).toEqual({
      'user.of new\nline': base64('0x00ff0a'),
      'user.empty': '',
      'security.capability': base64(capability),
      'system.posix_acl_access': base64(accessList),
    });
    expect(after).toEqual(before);
    const file = await stat(join(root, 'ü\u2028', 'plain'));
    expect([file.mode & 0o7777, file.uid]).toEqual([0o664, 1234]);
  });

  test('setuid bits of a file of another owner, hard links, links and pipes', async () => {
    const root = await roundTrip(async (source) => {
      await writeFile(join(source, 'b-setuid'), 'x');
      await chown(join(source, 'b-setuid'), 1234, 2345);
      await chmod(join(source, 'b-setuid'), 0o6755);
      await link(join(source, 'b-setuid'), join(source, 'a-name'));
      await symlink('no such\nplace', join(source, 'link'));
      await execa('mkfifo', ['--mode', '620', join(source, 'pipe')]);
    });
    const file = await lstat(join(root, 'b-setuid'));
    expect([file.mode & 0o7777, file.uid, file.gid, file.nlink]).toEqual([0o6755, 1234, 2345, 2]);
    expect((await lstat(join(root, 'a-name'))).ino).toBe(file.ino);
    const pipe = await lstat(join(root, 'pipe'));
    expect([pipe.isFIFO(), pipe.mode & 0o777]).toEqual([true, 0o620]);
  });
});

describe('a sparse file', () => {
  const TERABYTE = 2 ** 40;

  async function writeAt(path: string, pieces: readonly (readonly [offset: number, content: Buffer])[]): Promise<void> {
    await using file = await open(path, 'r+');
    for (const [offset, content] of pieces) await file.write(content, 0, content.length, offset);
  }

  test('of a terabyte is read where it has data, and has its holes afterwards', async () => {
    const pieces = [0, 5 * CHUNK_BYTES - 8192, 500_000_000_000, TERABYTE - 5].map(
      (offset) => [offset, offset === TERABYTE - 5 ? randomBytes(5) : randomBytes(16384)] as const,
    );
    const path = join(directory, 'source', 'sparse');
    await mkdir(join(directory, 'source'));
    await writeFile(path, '');
    await truncate(path, TERABYTE);
    await writeAt(path, pieces);
    const { opened, readBytes } = await save(directoryOf('source'));
    expect(readBytes).toBeLessThanOrEqual(6 * CHUNK_BYTES);
    const root = directoryOf('target');
    await mkdir(join(root, 'w'), { recursive: true });
    // Entries are of folders that move: the file itself stands for one here.
    await restore({ ...opened, index: inFolder(opened.index) }, root);
    const back = join(root, 'w', 'sparse');
    const { size, blocks } = await stat(back);
    expect(size).toBe(TERABYTE);
    expect(blocks).toBeLessThanOrEqual((await stat(path)).blocks);
    await using file = await open(back);
    for (const [offset, content] of pieces) {
      const read = Buffer.alloc(content.length);
      await file.read(read, 0, read.length, offset);
      expect(read.equals(content)).toBe(true);
    }
  });

  function directoryOf(name: string): string {
    return join(directory, name);
  }

  function inFolder(index: Index): Index {
    const attributes = { mode: 0o755, uid: 0, gid: 0, modifiedAtMs: 0 };
    const files = index.files.map((entry) => ({ ...entry, path: `w/${entry.path}` }));
    return { ...index, files: [{ type: 'directory', path: 'w', ...attributes }, ...files] };
  }

  test.each([
    ['small', 100_000, [[65536, 4096]]],
    ['with data in every second block', 3 * CHUNK_BYTES, Array.from({ length: 96 }, (_, at) => [at * 8192, 4096])],
    ['with nothing but holes', 10 * CHUNK_BYTES + 1, []],
    ['whose data ends where a chunk does', 4 * CHUNK_BYTES, [[CHUNK_BYTES, CHUNK_BYTES]]],
  ])('%s comes back as it was', async (_, size, ranges) => {
    const root = await roundTrip(async (source) => {
      await writeFile(join(source, 'sparse'), '');
      await truncate(join(source, 'sparse'), size);
      await writeAt(
        join(source, 'sparse'),
        ranges.map(([offset = 0, bytes = 0]) => [offset, randomBytes(bytes)]),
      );
      await execa('sync', [join(source, 'sparse')]);
    });
    const source = join(directory, 'source', 'workspace', 'sparse');
    expect((await readFile(join(root, 'sparse'))).equals(await readFile(source))).toBe(true);
    await execa('sync', [join(root, 'sparse')]);
    expect((await stat(join(root, 'sparse'))).blocks).toBeLessThanOrEqual((await stat(source)).blocks);
  });
});

test('a file whose size is beyond all numbers of the index cannot be frozen', async () => {
  // ext4 ends at 16 TiB; a tmpfs takes what a job may have on XFS.
  const source = await mkdtemp('/dev/shm/floe-files-');
  try {
    await writeFile(join(source, 'hole'), '');
    await truncate(join(source, 'hole'), Number.MAX_SAFE_INTEGER);
    expect((await save(source)).opened.index.files).toMatchObject([{ sizeBytes: Number.MAX_SAFE_INTEGER }]);
    await execa('truncate', ['-s', '8P', join(source, 'hole')]);
    await expect(save(source)).rejects.toMatchObject({
      code: 'cannotFreeze',
      message: expect.stringContaining('hole'),
    });
  } finally {
    await removeFolder(source);
  }
});

test('a name that is not UTF-8 cannot be frozen, and is not saved as another', async () => {
  const source = join(directory, 'source');
  await mkdir(source);
  await writeFile(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x66, 0xfc])]), '');
  await expect(save(source)).rejects.toMatchObject({
    code: 'cannotFreeze',
    message: expect.stringContaining('UTF-8'),
  });
});

test.each([
  ['the kernel', 3000],
  ['a thaw', 510],
])('folders that are nested too deeply for %s cannot be frozen', async (_, depth) => {
  const source = join(directory, 'source');
  await mkdir(source);
  const script = '(mkdir "nested" and chdir "nested") or die $! for 1..$ARGV[0]';
  await execa('perl', ['-e', script, String(depth)], { cwd: source });
  await expect(save(source)).rejects.toMatchObject({
    code: 'cannotFreeze',
    message: expect.stringMatching(/longer than 3500 bytes: nested\/.{0,120}$/),
  });
});

test('an attribute that no file system takes is the fault of the checkpoint', async () => {
  const source = join(directory, 'source');
  await mkdir(join(source, 'workspace'), { recursive: true });
  const { opened } = await save(source);
  const { index } = opened;
  const [folder] = index.files;
  if (folder?.type !== 'directory') throw new Error('The folder is missing.');
  const files = [{ ...folder, xattrs: [['system.posix_acl_access', 'eA=='] as [string, string]] }];
  const root = join(directory, 'target');
  await mkdir(root);
  await expect(restore({ ...opened, index: { ...index, files } }, root)).rejects.toMatchObject({ code: 'corrupt' });
});
