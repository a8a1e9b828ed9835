/**
 * Whether docs/format.md is enough to write a reader from: the one here was written from that page, with Node's own modules, and
 * shares nothing with Floe's. What Floe writes it restores.
 */
import { createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FreezeFolders } from '../freezer/engine/protocol.ts';
import { Chain } from '../freezer/testing/chain.ts';

const PREFIX = 'jobs/a/';
const OBJECT = (1000n << 8n) | 1n;

type Piece = number | [number, number, number];
interface Content {
  pieces: Piece[];
}
interface Entry extends Content {
  type: string;
  path: string;
  target?: string;
  sizeBytes: number;
  dataRanges?: [number, number][];
}
interface Restored {
  memory: { object: string; ranges: [string, number, number][]; content: Buffer }[];
  images: Map<string, Buffer>;
  /** Files with their content, other entries with what they are. */
  files: Map<string, Buffer | string>;
}

/** The second reader. `root`: the folder that a `file://` store and the prefix make. */
function restore(root: string, id: string, masterKey: Buffer | null): Restored {
  const manifest = JSON.parse(readFileSync(join(root, `manifests/${id}.json`), 'utf8'));
  must(manifest.version === (masterKey ? 4 : 3) && manifest.id === id, 'version and id');
  must(manifest.home === (masterKey ? pathToFileURL(root).href.slice(0, -`/${PREFIX}`.length) : undefined), 'home');
  const dataKey = masterKey && unwrap(manifest.encryption, masterKey);
  if (dataKey) {
    const { mac, ...encryption } = manifest.encryption;
    const text = `floe manifest 4\n${PREFIX}\n${canonical({ ...manifest, encryption })}`;
    const right = createHmac('sha256', derive(dataKey, 'floe manifest')).update(text).digest('hex');
    must(right === mac, 'the manifest');
  } else must(manifest.encryption === null, 'no encryption');
  const opened = (bytes: Buffer, context: string) =>
    dataKey ? unseal(derive(dataKey, 'floe encryption'), bytes, context) : bytes;

  const stored = readFileSync(join(root, manifest.index.key));
  must(stored.length === manifest.index.sizeBytes && sha256(stored) === manifest.index.sha256, 'the index');
  const index = JSON.parse(zstdDecompressSync(opened(stored, `index ${id}`)).toString('utf8'));

  const chunk = (number: number): Buffer => {
    const [chunkId, pack, offset, storedSize, contentSize] = index.chunks[number];
    const bytes = readFileSync(join(root, manifest.packs[pack].key)).subarray(offset, offset + storedSize);
    const frame = opened(bytes, chunkId);
    const named = dataKey
      ? createHmac('sha256', derive(dataKey, 'floe identity')).update(frame).digest('hex')
      : sha256(frame);
    must(named === chunkId, `chunk ${number}`);
    const content = zstdDecompressSync(frame, { maxOutputLength: contentSize });
    must(content.length === contentSize, `the size of chunk ${number}`);
    return content;
  };
  const contentOf = ({ pieces }: Content): Buffer =>
    Buffer.concat(
      pieces.map((piece) => {
        if (typeof piece === 'number') return chunk(piece);
        const [number, offset, size] = piece;
        return number < 0 ? Buffer.alloc(size) : chunk(number).subarray(offset, offset + size);
      }),
    );
  const { memory, images, files } = index;
  const fileOf = ({ sizeBytes, dataRanges = [[0, sizeBytes]], pieces }: Entry): Buffer => {
    const [file, content] = [Buffer.alloc(sizeBytes), contentOf({ pieces })];
    let at = 0;
    for (const [offset, size] of dataRanges) {
      content.copy(file, offset, at, at + size);
      at += size;
    }
    must(at === content.length, 'a file');
    return file;
  };
  return {
    memory: memory.map((each: Restored['memory'][number] & Content) => ({ ...each, content: contentOf(each) })),
    images: new Map(images.map((each: { name: string } & Content) => [each.name, contentOf(each)])),
    files: new Map(files.map((each: Entry) => [each.path, each.type === 'file' ? fileOf(each) : describeEntry(each)])),
  };
}

function describeEntry({ type, target }: Entry): string {
  return target === undefined ? type : `${type} to ${target}`;
}

function unwrap({ keyId, wrappedKey }: { keyId: string; wrappedKey: string }, masterKey: Buffer): Buffer {
  must(keyId === `local:${derive(masterKey, 'floe key id').toString('hex', 0, 8)}`, 'the master key');
  return unseal(derive(masterKey, 'floe wrapping'), Buffer.from(wrappedKey, 'base64'), 'floe data key');
}

function derive(key: Buffer, label: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), label, 32));
}

function unseal(key: Buffer, sealed: Buffer, context: string): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
  decipher.setAAD(Buffer.from(context, 'utf8'));
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  const member = (name: string) => `${JSON.stringify(name)}:${canonical((value as Record<string, unknown>)[name])}`;
  return `{${names.map(member).join(',')}}`;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`${what} does not verify`);
}

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-format-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

async function writeFolders(): Promise<{ folders: FreezeFolders } & Pick<Restored, 'images' | 'files'>> {
  const [imagesDirectory, filesDirectory] = [join(directory, 'images'), join(directory, 'files')];
  for (const folder of [imagesDirectory, join(filesDirectory, 'logs'), join(filesDirectory, 'workspace')])
    await mkdir(folder, { recursive: true });
  const images = new Map([
    ['core-1000.img', Buffer.alloc(700_000, 'an image ')],
    ['empty.img', Buffer.alloc(0)],
  ]);
  for (const [name, content] of images) await writeFile(join(imagesDirectory, name), content);
  const data = randomBytes(600_000);
  const sparse = Buffer.alloc(3_000_001);
  data.copy(sparse, 1_000_000, 0, 5000);
  sparse.write('end', 2_999_998);
  await writeFile(join(filesDirectory, 'logs/stdout'), 'a line\n');
  await writeFile(join(filesDirectory, 'logs/stderr'), '');
  await writeFile(join(filesDirectory, 'workspace/data'), data);
  await link(join(filesDirectory, 'workspace/data'), join(filesDirectory, 'workspace/other'));
  await symlink('../anywhere', join(filesDirectory, 'workspace/symbolic'));
  {
    await using file = await open(join(filesDirectory, 'workspace/sparse'), 'wx');
    await file.truncate(sparse.length);
    await file.write(data, 0, 5000, 1_000_000);
    await file.write('end', 2_999_998);
  }
  const files = new Map<string, Buffer | string>([
    ['logs', 'directory'],
    ['logs/stderr', Buffer.alloc(0)],
    ['logs/stdout', Buffer.from('a line\n')],
    ['workspace', 'directory'],
    ['workspace/data', data],
    ['workspace/other', 'link to workspace/data'],
    ['workspace/sparse', sparse],
    ['workspace/symbolic', 'symlink to ../anywhere'],
  ]);
  return { folders: { imagesDirectory, filesDirectory }, images, files };
}

describe.each([
  ['plain', null],
  ['encrypted', randomBytes(32)],
])('a checkpoint, %s,', (_, masterKey) => {
  test('is restored by a reader that knows the document only', async () => {
    await using chain = await Chain.make(directory, masterKey ? [masterKey.toString('base64')] : undefined);
    const first = randomBytes(300 * 4096);
    first.fill(0, 10 * 4096, 100 * 4096);
    const { folders, images, files } = await writeFolders();
    await chain.take([{ object: OBJECT, runs: [{ page: 77, content: first }] }], 2 ** 20, folders);
    // On top of the first: some of it scattered, some at another place.
    const second = Buffer.from(first);
    for (const page of [3, 120, 200]) randomBytes(4096).copy(second, page * 4096);
    const runs = [
      { page: 77, content: second },
      { page: 9000, content: first.subarray(0, 8192) },
    ];
    const { id, packs } = await chain.take([{ object: OBJECT, runs }], 2 ** 20, folders);
    expect(packs.length).toBeGreaterThan(1);

    const restored = restore(join(directory, 'store', PREFIX), id, masterKey);
    const [memory] = restored.memory;
    expect(memory).toMatchObject({
      object: String(OBJECT),
      ranges: [
        [String(77 * 4096), 300, 4],
        [String(9000 * 4096), 2, 4],
      ],
    });
    expect(memory?.content.equals(Buffer.concat(runs.map(({ content }) => content)))).toBe(true);
    expect(restored.images).toEqual(images);
    expect(restored.files).toEqual(files);
  });
});
