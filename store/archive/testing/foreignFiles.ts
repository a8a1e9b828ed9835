/**
 * What somebody can put in a folder or an archive to get at files outside, or at the process that works for everybody. One suite, run with
 * the confinement of the toolbox and without: neither may be what alone protects.
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { constants, createZstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { expectStoreError } from '../../conformance.ts';
import { type GetFolderOptions, getFolder, type PutFolderOptions, putFolder } from '../../folder.ts';
import { openStore } from '../../open.ts';
import type { Store } from '../../store.ts';
import { pax, type RawEntry, rawArchive } from './rawArchive.ts';

const SECRET = 'the secret of the host';

/** `toolboxDirectory` undefined: without confinement. */
export function testForeignFiles(toolboxDirectory: string | undefined): void {
  let base: string;
  let source: string;
  let target: string;
  let outside: string;
  let store: Store;
  let canary: string;

  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'floe-foreign-'));
    [source, target, outside] = [join(base, 'source'), join(base, 'target'), join(base, 'outside')];
    for (const folder of [source, target, outside]) await mkdir(folder);
    await mkdir(join(outside, 'below'));
    await writeFile(join(outside, 'canary'), SECRET, { mode: 0o600 });
    await utimes(join(outside, 'canary'), 1_000_000_000, 1_000_000_000);
    await chmod(outside, 0o711);
    await utimes(outside, 1_000_000_000, 1_000_000_000);
    store = await openStore(pathToFileURL(join(base, 'store')).href);
    canary = await describeOutside();
  });
  afterEach(async () => {
    const now = await describeOutside();
    execFileSync('rm', ['-rf', '--', base]);
    expect(now).toBe(canary);
  });

  const put = (options: PutFolderOptions = {}) => putFolder(store, 'key', source, { toolboxDirectory, ...options });
  const get = (options: GetFolderOptions = {}) => getFolder(store, 'key', target, { toolboxDirectory, ...options });
  const stored = async () => zstdDecompressSync(await store.get('key'));
  const storeRaw = (archive: Buffer) => store.putStream('key', Readable.from([zstdCompressSync(archive)]));

  async function describeOutside(): Promise<string> {
    const names = (await readdir(outside, { recursive: true })).sort();
    const facts = ['.', ...names].map(async (name) => {
      const { mode, uid, gid, nlink, size, mtimeMs } = await lstat(join(outside, name));
      return [name, mode.toString(8), uid, gid, nlink, size, mtimeMs].join(' ');
    });
    return [...(await Promise.all(facts)), await readFile(join(outside, 'canary'), 'utf8')].join('\n');
  }

  describe('packing', () => {
    it.each([
      ['results/*'],
      ['results/canary'],
      ['results/**'],
      ['**/canary'],
      ['res*/canary'],
      ['{results,x/y}/canary'],
      ['results/below/../canary'],
    ])('takes nothing through a linked folder for %s', async (pattern) => {
      await symlink(outside, join(source, 'results'));
      await writeFile(join(source, 'mine'), 'mine');
      const { files, unmatched } = await put({ include: [pattern] });
      expect({ files, unmatched }).toEqual({ files: 0, unmatched: [pattern] });
      expect((await stored()).includes(SECRET)).toBe(false);
    });

    it('keeps a link as a link', async () => {
      await symlink(join(outside, 'canary'), join(source, 'link'));
      expect(await put({ include: ['link'] })).toMatchObject({ files: 1, unmatched: [] });
      expect((await stored()).includes(SECRET)).toBe(false);
    });

    it('never follows a link that takes the place of a folder meanwhile', async () => {
      await mkdir(join(source, 'a/b'), { recursive: true });
      await writeFile(join(source, 'a/b/canary'), 'mine');
      const script = `
        import { renameSync, rmSync, symlinkSync } from 'node:fs';
        const [folder, away, aim] = process.argv.slice(1);
        process.on('disconnect', () => process.exit());
        process.send('ready');
        const swap = () => {
          for (let i = 0; i < 200; i += 1) {
            renameSync(folder, away); symlinkSync(aim, folder); rmSync(folder); renameSync(away, folder);
          }
          setImmediate(swap);
        };
        swap();`;
      const swapper = spawn(
        process.execPath,
        ['--input-type=module', '-e', script, join(source, 'a/b'), join(source, 'away'), outside],
        { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
      );
      try {
        await once(swapper, 'message');
        for (let round = 0; round < 6; round += 1) {
          await put({ include: ['a/b/canary', 'a/*/c*', 'a'] });
          expect((await stored()).includes(SECRET)).toBe(false);
        }
      } finally {
        swapper.disconnect();
        await once(swapper, 'exit');
      }
    });

    it('leaves out and names what is no file, and does not wait for it', async () => {
      execFileSync('mkfifo', [join(source, 'pipe')]);
      execFileSync('mknod', [join(source, 'null'), 'c', '1', '3']);
      const server = createServer().listen(join(source, 'socket'));
      await once(server, 'listening');
      await writeFile(join(source, 'zfile'), 'content');
      const exceptions = {
        count: 3,
        examples: [
          { path: 'null', reason: 'device' },
          { path: 'pipe', reason: 'pipe' },
          { path: 'socket', reason: 'socket' },
        ],
      };
      try {
        expect(await put()).toMatchObject({ files: 1, exceptions });
        expect(await put({ include: ['*'] })).toMatchObject({ files: 1, unmatched: [], exceptions });
      } finally {
        server.close();
      }
      await get();
      expect(await readdir(target)).toEqual(['zfile']);
    });

    it('keeps every name to the byte, and GNU tar reads them', async () => {
      const names = [
        Buffer.from([0xff, 0x80, 0x78]),
        Buffer.from('new\nline'),
        Buffer.from('C:\\odd'),
        Buffer.from('C:'),
        Buffer.from('-rf'),
        Buffer.from('ü'.repeat(127)),
        Buffer.from('n'.repeat(255)),
        Buffer.concat([Buffer.alloc(150, 0x61), Buffer.from([0xfe])]),
      ];
      for (const name of names) {
        await writeFile(Buffer.concat([Buffer.from(`${source}/`), name]), name);
        await mkdir(Buffer.concat([Buffer.from(`${source}/d`), name.subarray(0, 254)]));
        await symlink(name, Buffer.concat([Buffer.from(`${source}/l`), name.subarray(0, 254)]));
      }
      await put();
      await get();
      execFileSync('diff', ['--recursive', '--no-dereference', source, target]);
      const other = join(base, 'other');
      await mkdir(other);
      execFileSync('tar', ['-xf', '-', '-C', other], { input: await stored(), stdio: ['pipe', 'inherit', 'ignore'] });
      execFileSync('diff', ['--recursive', '--no-dereference', source, other]);
    });

    it('keeps a path as long as the kernel takes', async () => {
      const names = Array.from({ length: 16 }, () => 'd'.repeat(250));
      execFileSync(
        'perl',
        ['-e', 'for (@ARGV) { mkdir $_; chdir $_ or die } open(F, ">file"); print F "end"', ...names],
        {
          cwd: source,
        },
      );
      expect(await put()).toMatchObject({ files: 1 });
      await get();
      execFileSync(
        'perl',
        ['-e', 'for (@ARGV) { chdir $_ or die } open(F, "<file") or die; <F> eq "end" or die', ...names],
        {
          cwd: target,
        },
      );
    });

    it.each<[string, Partial<{ bytes: number; entries: number; depth: number }>, string]>([
      ['bytes', { bytes: 1000 }, 'tooLarge'],
      ['entries', { entries: 5 }, 'tooLarge'],
      ['depth', { depth: 2 }, 'invalid'],
    ])('refuses more %s than the limit, both ways', async (_, limits, code) => {
      await mkdir(join(source, 'a/b/c/d'), { recursive: true });
      for (const name of ['1', '2', '3']) await writeFile(join(source, name), name.repeat(400));
      await expectStoreError(put({ limits }), code as 'tooLarge');
      await expectStoreError(store.get('key'), 'notFound');
      await put();
      await expectStoreError(get({ limits }), code as 'tooLarge');
    });

    it.each([10, 30_000_000])('is cancelled while the store takes nothing of %i bytes', async (sizeBytes) => {
      await writeFile(join(source, 'file'), randomBytes(sizeBytes));
      const controller = new AbortController();
      const reason = new Error('enough');
      const stuck = { ...store, putStream: (_: string, body: Readable) => once(body, 'close') } as unknown as Store;
      setTimeout(() => controller.abort(reason), 300);
      await expect(putFolder(stuck, 'key', source, { toolboxDirectory, signal: controller.signal })).rejects.toBe(
        reason,
      );
      expect(children()).toEqual([]);
    });

    it('ends with the error of a store that refuses before it reads', async () => {
      await writeFile(join(source, 'file'), 'content');
      const refusal = new Error('read-only');
      const refusing = { ...store, putStream: () => Promise.reject(refusal) } as unknown as Store;
      await expect(putFolder(refusing, 'key', source, { toolboxDirectory })).rejects.toBe(refusal);
    });

    it('gives up when nothing moves, and when its process is killed', async () => {
      await writeFile(join(source, 'big'), Buffer.alloc(50_000_000));
      for (const name of ['SIGSTOP', 'SIGKILL'] as const) {
        const work = expectStoreError(put({ stallTimeoutMs: 1500 }), 'unreadable');
        while (children().length === 0) await new Promise(setImmediate);
        for (const pid of children()) process.kill(pid, name);
        await work;
      }
      expect(children()).toEqual([]);
    });
  });

  describe('unpacking', () => {
    const refused: [string, RawEntry[]][] = [
      ['a path above', [{ path: '../outside/new' }]],
      ['a path above, hidden', [{ path: './a/../../outside/new' }]],
      ['an absolute path', [{ path: '/outside/new' }]],
      ['a path with NUL', [pax({ path: 'a\0b' }), { path: 'x' }]],
      ['a file through a link', [{ path: 'up', flag: '2', target: '../outside' }, { path: 'up/new' }]],
      [
        'a folder through a link',
        [
          { path: 'up', flag: '2', target: '../outside' },
          { path: 'up/below', flag: '5', mode: 0o777 },
        ],
      ],
      [
        'a link through a link',
        [
          { path: 'up', flag: '2', target: '..' },
          { path: 'up/outside/l', flag: '2', target: '/' },
        ],
      ],
      [
        'a file through a chain of links',
        [{ path: 'a', flag: '2', target: '..' }, { path: 'b', flag: '2', target: 'a/outside' }, { path: 'b/new' }],
      ],
      [
        'a folder that a link replaced',
        [
          { path: 'd', flag: '5' },
          { path: 'd/sub', flag: '5' },
          { path: 'd/sub', flag: '2', target: '../../outside' },
          { path: 'd/sub/new' },
        ],
      ],
      ['a hard link above', [{ path: 'mine', flag: '1', target: '../outside/canary' }]],
      [
        'a hard link through a link',
        [
          { path: 'up', flag: '2', target: '../outside' },
          { path: 'mine', flag: '1', target: 'up/canary' },
        ],
      ],
      [
        'a hard link to a link',
        [
          { path: 'up', flag: '2', target: '../outside/canary' },
          { path: 'mine', flag: '1', target: 'up' },
          { path: 'mine', mode: 0o4777 },
        ],
      ],
      ['a hard link to what was there', [{ path: 'mine', flag: '1', target: 'before' }]],
      ['a hard link to itself', [{ path: 'mine' }, { path: 'mine', flag: '1', target: 'mine' }]],
      ['a link to nowhere', [{ path: 'l', flag: '2', target: '' }]],
      ['an extended header that is too long', [{ path: 'x', flag: 'x', content: Buffer.alloc(2 ** 21, 0x61) }]],
      ['an extended header that is broken', [{ path: 'x', flag: 'x', content: '99999 path=x\n' }, { path: 'x' }]],
      ['a size below zero', [{ path: 'x', sizeField: Buffer.alloc(12, 0xff) }]],
      ['a size beyond all', [{ path: 'x', sizeField: Buffer.concat([Buffer.from([0x80]), Buffer.alloc(11, 0xff)]) }]],
      ['a size that is no number', [pax({ size: '1e9' }), { path: 'x' }]],
      ['a sparse map without end', [sparse('s', 10), { path: 's', content: '999999999999\n0\n1\n'.padEnd(512, '\0') }]],
      [
        'a sparse map out of order',
        [sparse('s', 1000), { path: 's', content: `${'2\n500\n1\n0\n1\n'.padEnd(512, '\0')}ab` }],
      ],
      [
        'a sparse map beyond its file',
        [sparse('s', 10), { path: 's', content: `${'1\n9\n5\n'.padEnd(512, '\0')}abcde` }],
      ],
      [
        'a sparse file larger than any',
        [sparse('s', Number.MAX_SAFE_INTEGER), { path: 's', content: '0\n'.padEnd(512, '\0') }],
      ],
    ];
    it.each(refused)('refuses %s', async (_, entries) => {
      await writeFile(join(target, 'before'), 'before');
      await storeRaw(rawArchive(entries));
      const failure = await get().catch((error: { code: string }) => error);
      expect(failure).toMatchObject({ code: expect.stringMatching(/^(damaged|invalid)$/) });
    });

    it('sets no mode and no time through a link', async () => {
      await storeRaw(
        rawArchive([
          { path: 'd', flag: '5', mode: 0o777 },
          { path: 'd', flag: '2', target: '../outside' },
          { path: 'f', mode: 0o777 },
          { path: 'f', flag: '2', target: '../outside/canary' },
          { path: 'e', flag: '2', target: '../outside/canary' },
          { path: 'e', mode: 0o4777 },
          { path: 'dir', flag: '2', target: '../outside' },
          { path: 'dir', flag: '5', mode: 0o777 },
        ]),
      );
      await get();
      expect((await lstat(join(target, 'd'))).isSymbolicLink()).toBe(true);
      expect((await lstat(join(target, 'dir'))).isDirectory()).toBe(true);
      expect((await lstat(join(target, 'e'))).mode & 0o7777).toBe(0o777);
    });

    it('replaces links that were there, and writes nothing through them', async () => {
      await symlink(outside, join(target, 'folder'));
      await symlink(join(outside, 'canary'), join(target, 'file'));
      await storeRaw(
        rawArchive([{ path: 'folder', flag: '5' }, { path: 'folder/new' }, { path: 'file', content: 'x' }]),
      );
      await get();
      expect(await readFile(join(target, 'file'), 'utf8')).toBe('x');
      await rm(join(target, 'folder'), { recursive: true });
      await symlink(outside, join(target, 'folder'));
      await storeRaw(rawArchive([{ path: 'folder/new' }]));
      await expectStoreError(get(), 'damaged');
    });

    it('gives no setuid, setgid or sticky bit and no owner, and makes no device', async () => {
      await writeFile(join(source, 'tool'), 'x');
      await mkdir(join(source, 'shared'));
      execFileSync('chown', ['12345:12345', join(source, 'tool'), join(source, 'shared')]);
      await chmod(join(source, 'tool'), 0o6755);
      await chmod(join(source, 'shared'), 0o3777);
      await put();
      await get();
      const facts = async (name: string) => {
        const { mode, uid } = await lstat(join(target, name));
        return [(mode & 0o7777).toString(8), uid];
      };
      expect(await facts('tool')).toEqual(['755', process.getuid?.()]);
      expect(await facts('shared')).toEqual(['777', process.getuid?.()]);
      await storeRaw(
        rawArchive([
          { path: 'tool', mode: 0o6777 },
          { path: 'device', flag: '3' },
          { path: 'pipe', flag: '6' },
        ]),
      );
      await get();
      expect(await facts('tool')).toEqual(['777', process.getuid?.()]);
      expect((await readdir(target)).sort()).toEqual(['shared', 'tool']);
    });

    it('lets the last of several entries of a name win', async () => {
      await storeRaw(
        rawArchive([
          { path: 'a', content: 'one' },
          { path: './a', content: 'two' },
          { path: 'b', flag: '1', target: 'a' },
          { path: 'a', content: 'three' },
          { path: 'c', flag: '5' },
          { path: 'c', content: 'file' },
          { path: './', flag: '5', mode: 0o700 },
        ]),
      );
      await get();
      const read = (name: string) => readFile(join(target, name), 'utf8');
      expect([await read('a'), await read('b'), await read('c')]).toEqual(['three', 'two', 'file']);
    });

    it('unpacks no bomb', async () => {
      const header = rawArchive([{ path: 'zeros', sizeField: 8 * 1024 ** 3 - 1 }], Buffer.alloc(0));
      const compress = createZstdCompress();
      compress.write(header);
      void (async () => {
        const zeros = Buffer.alloc(2 ** 20);
        for (let count = 0; count < 2048; count += 1) {
          if (!compress.write(zeros)) await once(compress, 'drain');
        }
        compress.end();
      })();
      await store.putStream('key', compress);
      await expectStoreError(get({ limits: { bytes: 10_000_000 } }), 'tooLarge');
      expect((await readdir(target)).length).toBeLessThanOrEqual(1);
      // The same behind the end of the archive, and in entries that nobody unpacks.
      const tail = Buffer.alloc(200_000_000);
      await storeRaw(rawArchive([{ path: 'a' }], Buffer.concat([Buffer.alloc(1024), tail])));
      await expectStoreError(get({ limits: { bytes: 1_000_000, entries: 10 } }), 'tooLarge');
      await storeRaw(rawArchive([{ path: 'a', flag: '6', content: tail }]));
      await expectStoreError(get({ limits: { bytes: 1_000_000, entries: 10 } }), 'tooLarge');
    });

    it('takes no archive that asks for more memory than ours do', async () => {
      const params = { [constants.ZSTD_c_windowLog]: 27, [constants.ZSTD_c_enableLongDistanceMatching]: 1 };
      const compress = createZstdCompress({ params });
      compress.end(rawArchive([{ path: 'a', content: Buffer.alloc(1000) }]));
      await store.putStream('key', compress);
      await expectStoreError(get(), 'damaged');
    });

    it('reads what GNU tar writes', async () => {
      await mkdir(join(source, 'l'.repeat(90), 'm'.repeat(60)), { recursive: true });
      await writeFile(join(source, 'l'.repeat(90), 'm'.repeat(60), 'file'), 'deep');
      await symlink(`${'t'.repeat(200)}`, join(source, 'link'));
      await link(join(source, 'l'.repeat(90), 'm'.repeat(60), 'file'), join(source, 'twin'));
      await truncate(await made(join(source, 'sparse')), 1_000_000);
      for (const format of ['gnu', 'pax', 'ustar']) {
        if (format === 'ustar') await rm(join(source, 'link')); // its target is too long for that format
        const options = format === 'pax' ? ['--sparse', '--sparse-version=1.0'] : [];
        const archive = execFileSync('tar', [`--format=${format}`, ...options, '-cf', '-', '-C', source, '.']);
        await storeRaw(archive);
        await rm(target, { recursive: true });
        await get();
        execFileSync('diff', ['--recursive', '--no-dereference', source, target]);
        expect((await stat(join(target, 'twin'))).nlink).toBe(2);
      }
    });
  });

  describe('the input by its hash', () => {
    it('takes the one that was stored and no other', async () => {
      await writeFile(join(source, 'program'), 'honest');
      const expected = await put();
      await get({ expected });
      for (const evil of [
        zstdCompressSync(rawArchive([{ path: 'program', content: 'evil' }])),
        Buffer.from('no archive'),
        Buffer.alloc(0),
        Buffer.concat([await store.get('key'), Buffer.from('more')]),
      ]) {
        await store.putStream('key', Readable.from([evil]));
        await expectStoreError(get({ expected }), 'substituted');
      }
    });
  });

  it('stores sparse files by what is in them', async () => {
    const file = await open(join(source, 'sparse'), 'w');
    await file.truncate(8 * 1024 ** 4);
    await file.write('begin', 0);
    await file.write('middle', 4 * 1024 ** 4);
    await file.close();
    // Without the toolbox nobody knows the holes.
    if (toolboxDirectory === undefined) return expectStoreError(put(), 'tooLarge');
    const { sizeBytes } = await put();
    expect(sizeBytes).toBeLessThan(100_000);
    await get();
    const unpacked = join(target, 'sparse');
    const found = await stat(unpacked);
    expect(found.size).toBe(8 * 1024 ** 4);
    expect(found.blocks * 512).toBeLessThan(1_000_000);
    const at = async (start: number, length: number) =>
      Buffer.concat(await createReadStream(unpacked, { start, end: start + length - 1 }).toArray()).toString();
    expect([await at(0, 6), await at(4 * 1024 ** 4, 6)]).toEqual(['begin\0', 'middle']);
    const other = join(base, 'other');
    await mkdir(other);
    execFileSync('tar', ['-xf', '-', '-C', other], { input: await stored() });
    expect((await stat(join(other, 'sparse'))).size).toBe(8 * 1024 ** 4);
    await rename(unpacked, join(target, 'moved'));
    return undefined;
  });

  it('takes no process for an empty folder', async () => {
    const before = seenChildren;
    expect(await put({ include: ['*.txt', '.'] })).toMatchObject({ files: 0, unmatched: ['*.txt'] });
    expect(seenChildren).toBe(before);
    await get();
    expect(await readdir(target)).toEqual([]);
  });

  let seenChildren = 0;
  /** Archivers of this process that are alive. */
  function children(): number[] {
    const tasks = readdirSync('/proc/self/task');
    const found = tasks.flatMap((task) => readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' '));
    const pids = found.filter((pid) => pid.trim() !== '' && isArchiver(pid)).map(Number);
    seenChildren += pids.length;
    return pids;
  }
}

function isArchiver(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('archive/main');
  } catch {
    return false; // it has ended
  }
}

function sparse(name: string, realBytes: number): RawEntry {
  return pax({
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': name,
    'GNU.sparse.realsize': String(realBytes),
  });
}

async function made(path: string): Promise<string> {
  await writeFile(path, '');
  return path;
}
