/** Random folders come back as they were, and random archives reach nothing outside: in this process, for the number of them. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRoot } from './beneath.ts';
import { ByteSource } from './byteSource.ts';
import { ArchiveFailure } from './failure.ts';
import { Packer } from './pack.ts';
import { select } from './select.ts';
import { TarReader } from './tarReader.ts';
import { type RawEntry, rawArchive } from './testing/rawArchive.ts';
import { Unpacker } from './unpack.ts';

const LIMITS = { bytes: 1e8, entries: 1000, depth: 100 };
const onStep = () => undefined;

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'floe-archives-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

function pack(directory: string, include: string[] | null = null): Buffer {
  const root = openRoot(directory);
  try {
    const packer = new Packer(root, { limits: LIMITS, nextRange: null, onStep });
    return Buffer.concat([...packer.pack(select(root, include, LIMITS, onStep).paths)]);
  } finally {
    closeSync(root);
  }
}

async function unpack(archive: Buffer, directory: string, chunkBytes = 1000): Promise<void> {
  async function* chunks() {
    for (let at = 0; at < archive.length; at += chunkBytes) yield archive.subarray(at, at + chunkBytes);
  }
  const root = openRoot(directory);
  try {
    using unpacker = new Unpacker(root, { limits: LIMITS, onStep });
    await unpacker.unpack(new TarReader(new ByteSource(chunks(), 1e9), LIMITS));
  } finally {
    closeSync(root);
  }
}

/** Everything of a tree, by paths in bytes. */
async function describe(directory: string): Promise<string[]> {
  const names = await readdir(Buffer.from(directory), { recursive: true, encoding: 'buffer' });
  const facts = names.map(async (name) => {
    const path = Buffer.concat([Buffer.from(`${directory}/`), name]);
    const { mode, mtimeMs, size, nlink } = await lstat(path);
    const isFolder = (mode & 0o170000) === 0o040000;
    const content = (mode & 0o170000) === 0o100000 ? readFileSync(path).toString('base64') : '';
    return [
      name.toString('latin1'),
      mode.toString(8),
      Math.round(mtimeMs),
      isFolder ? '' : `${size} ${nlink}`,
      content,
    ].join(' ');
  });
  return (await Promise.all(facts)).sort();
}

async function foldersOf(directory: string): Promise<Buffer[]> {
  const names = await readdir(Buffer.from(directory), { recursive: true, encoding: 'buffer' });
  const paths = names.map((name) => Buffer.concat([Buffer.from(`${directory}/`), name]));
  return paths.filter((path) => lstatSync(path).isDirectory());
}

const name = fc
  .uint8Array({ minLength: 1, maxLength: 30 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x5f : byte))))
  .filter((bytes) => !['.', '..'].includes(bytes.toString('latin1')));
const node = fc.record({
  folders: fc.array(name, { maxLength: 4 }),
  name,
  kind: fc.constantFrom('file' as const, 'folder' as const, 'link' as const),
  content: fc.uint8Array({ maxLength: 2000 }),
  mode: fc.constantFrom(0o600, 0o644, 0o755, 0o777, 0o400),
  seconds: fc.integer({ min: -1e9, max: 4e9 }),
});

it('unpacks what it packed as it was', async () => {
  let round = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(node, { maxLength: 12 }), async (nodes) => {
      const [source, target] = [join(base, `source-${round}`), join(base, `target-${round}`)];
      round += 1;
      mkdirSync(source);
      mkdirSync(target);
      for (const { folders, name, kind, content, mode, seconds } of nodes) {
        const slash = Buffer.from('/');
        const folder = Buffer.concat([Buffer.from(source), ...folders.flatMap((part) => [slash, part])]);
        const path = Buffer.concat([folder, slash, name]);
        try {
          mkdirSync(folder, { recursive: true });
          if (kind === 'folder') mkdirSync(path, { mode });
          else if (kind === 'link') symlinkSync(Buffer.concat([slash, name]), path);
          else writeFileSync(path, content, { mode, flag: 'wx' });
          if (kind !== 'link') utimesSync(path, seconds, seconds);
        } catch {
          // Two of a name: the first stays.
        }
      }
      for (const path of await foldersOf(source)) utimesSync(path, 1_700_000_000.25, 1_700_000_000.25);
      const archive = pack(source);
      await unpack(archive, target);
      expect(await describe(target)).toEqual(await describe(source));
      expect(pack(target).equals(archive)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

const hostile: fc.Arbitrary<RawEntry> = fc.record({
  path: fc
    .array(fc.constantFrom('a', 'b', 'up', '..', '.', '', 'outside', 'canary'), { maxLength: 4 })
    .map((parts) => parts.join('/')),
  flag: fc.constantFrom('0', '0', '1', '2', '2', '5', '3', '6', 'L', 'K', 'x', 'S'),
  target: fc.constantFrom(
    '',
    'a',
    'a/b',
    'up',
    '../outside',
    '../outside/canary',
    '/',
    '..',
    'up/canary',
    'up/outside/canary',
  ),
  content: fc.constantFrom('', 'x', 'content', '../outside/new', '18 path=../outside\n'),
  mode: fc.constantFrom(0o777, 0o4777, 0),
});

it('reaches nothing outside, whatever the archive says', async () => {
  const outside = join(base, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'canary'), 'secret', { mode: 0o600 });
  utimesSync(join(outside, 'canary'), 1e9, 1e9);
  utimesSync(outside, 1e9, 1e9);
  const before = [await describe(outside), (await lstat(outside)).mode, (await lstat(outside)).mtimeMs];
  let round = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(hostile, { maxLength: 8 }),
      fc.array(fc.tuple(fc.nat(8000), fc.nat(255)), { maxLength: 3 }),
      fc.boolean(),
      async (entries, flips, isMangled) => {
        const target = join(base, `target-${round++}`);
        mkdirSync(target);
        const archive = rawArchive(entries);
        if (isMangled) for (const [at, byte] of flips) archive[at % archive.length] = byte;
        await unpack(archive, target).catch((error: unknown) => {
          if (!(error instanceof ArchiveFailure)) throw error;
        });
        expect([await describe(outside), (await lstat(outside)).mode, (await lstat(outside)).mtimeMs]).toEqual(before);
        expect(readdirSync(base).filter((name) => !name.startsWith('target-'))).toEqual(['outside']);
        execFileSync('rm', ['-rf', target]);
      },
    ),
    { numRuns: 200 },
  );
});

it('tells what vanishes, grows or shrinks while it is packed, and the archive stays whole', async () => {
  const [source, target, size] = [join(base, 'source'), join(base, 'target'), 600 * 1024];
  for (const folder of [join(source, 'zfolder'), target]) mkdirSync(folder, { recursive: true });
  for (const file of ['grows', 'shrinks', 'vanishes']) writeFileSync(join(source, file), Buffer.alloc(size, 'x'));
  writeFileSync(join(source, 'zfolder/below'), 'content');
  const root = openRoot(source);
  const packer = new Packer(root, { limits: LIMITS, nextRange: null, onStep });
  const pieces: Buffer[] = [];
  for (const piece of packer.pack([''])) {
    const count = pieces.push(Buffer.from(piece));
    // In the middle of the first file.
    if (count === 1) {
      appendFileSync(join(source, 'grows'), 'more');
      rmSync(join(source, 'vanishes'));
      rmSync(join(source, 'zfolder'), { recursive: true });
      symlinkSync(base, join(source, 'zfolder'));
    }
    // In that of the second one.
    if (count === 3) truncateSync(join(source, 'shrinks'), 10);
  }
  closeSync(root);
  const examples = [
    { path: 'grows', reason: 'changed' },
    { path: 'shrinks', reason: 'changed' },
    { path: 'vanishes', reason: 'vanished' },
  ];
  expect(packer.summary([]).exceptions).toEqual({ count: 3, examples });
  await unpack(Buffer.concat(pieces), target);
  expect(readdirSync(target).sort()).toEqual(['grows', 'shrinks', 'zfolder']);
  expect(readFileSync(join(target, 'grows')).equals(Buffer.alloc(size, 'x'))).toBe(true);
  expect(readFileSync(join(target, 'shrinks')).length).toBe(size);
  expect((await lstat(join(target, 'zfolder'))).isSymbolicLink()).toBe(true);
});
