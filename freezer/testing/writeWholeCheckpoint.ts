/** A checkpoint that can be read: memory of a process in one pack, an image and a file in another. For tests of reading. */
import { createHash, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import type { Store } from '../../store/store.ts';
import { chunkId } from '../checkpoint/chunkId.ts';
import { type Chunk, checkpointKeys, type Index, type Manifest } from '../checkpoint/format.ts';
import { manifestOf } from './writeCheckpoint.ts';

const CONTENT_BYTES = 65_536;

export async function writeWholeCheckpoint(store: Store, prefix: string, id: string): Promise<Manifest> {
  const compress = promisify(zstdCompress);
  const chunks: Chunk[] = [];
  const packs: Manifest['packs'] = [];
  for (const number of [0, 1]) {
    const contents = [randomBytes(CONTENT_BYTES), randomBytes(CONTENT_BYTES)];
    const stored = await Promise.all(contents.map((content) => compress(content)));
    let offset = 0;
    for (const bytes of stored) {
      chunks.push([chunkId(bytes, null), number, offset, bytes.length, CONTENT_BYTES]);
      offset += bytes.length;
    }
    const key = checkpointKeys.pack(id, number);
    await store.create(prefix + key, stored);
    packs.push({ key, sizeBytes: offset });
  }
  const index = await compress(JSON.stringify(indexOf(chunks)));
  await store.create(prefix + checkpointKeys.index(id), index);
  const sha256 = createHash('sha256').update(index).digest('hex');
  const manifest = manifestOf(id, { key: checkpointKeys.index(id), sizeBytes: index.length, sha256 }, packs);
  await store.create(prefix + checkpointKeys.manifest(id), Buffer.from(JSON.stringify(manifest)));
  return manifest;
}

function indexOf(chunks: Chunk[]): Index {
  const attributes = { mode: 0o644, uid: 0, gid: 0, modifiedAtMs: 0 };
  return {
    chunks,
    memory: [{ object: String((1001 << 8) | 1), ranges: [['1048576', (2 * CONTENT_BYTES) / 4096, 4]], pieces: [0, 1] }],
    images: [{ name: 'core-1001.img', sizeBytes: 100, pieces: [[2, 0, 100]] }],
    files: [
      { type: 'directory', path: 'workspace', ...attributes },
      { type: 'file', path: 'workspace/data', ...attributes, sizeBytes: CONTENT_BYTES, pieces: [3] },
    ],
  };
}
