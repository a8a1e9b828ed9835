/** Worker thread: hashes and compresses content on its way out, decompresses and verifies it on its way in. */
import { parentPort } from 'node:worker_threads';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { open, seal } from '../encryption/seal.ts';
import { blocksOf, chunkId, HASH_BYTES, hashBlocks } from './blocks.ts';
import { CHUNK_BYTES } from './format.ts';
import { execute, type Write } from './writePlan.ts';

/** Content in parts, in memory that is shared; nobody changes it until the answer is there. */
export type Content = readonly Uint8Array[];

/** What a chunk's id and its seal are made with; null where nothing is encrypted. */
export interface ChunkKeys {
  readonly identity: Uint8Array;
  readonly encryption: Uint8Array;
}

export type HashRequest = { kind: 'hash'; contents: Content[] };
/** One after the other; for content that is all zeros, null and no hashes. */
export type HashAnswer = { hashes: Uint8Array; blocks: (number | null)[] };

export type PackRequest = { kind: 'pack'; chunks: { id: string; content: Content }[]; keys: ChunkKeys | null };
/** One after the other. */
export type PackAnswer = { bytes: Uint8Array; sizes: number[] };

export interface StoredChunk {
  readonly id: string;
  readonly storedBytes: number;
  readonly contentBytes: number;
  /** Where its content is to be written; absent when it is to be handed back. */
  readonly writes?: readonly Write[];
}
/** Stored chunks, one after the other. */
export type UnpackRequest = { kind: 'unpack'; bytes: Uint8Array; chunks: StoredChunk[]; keys: ChunkKeys | null };
/** Contents to hand back and the hashes of all blocks, one after the other; or `damaged`, the first chunk that did not verify. */
export type UnpackAnswer = { contents: Uint8Array; hashes: Uint8Array; damaged: number | null };

export type Request = HashRequest | PackRequest | UnpackRequest;
export type Answer = HashAnswer | PackAnswer | UnpackAnswer;
/** What kept a thread from an answer: an error of the file system's where it writes. */
export type Refusal = { kind: 'refused'; message: string; code: unknown };

/** -1 costs about what lz4 does and packs better. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: -1 } };
const ZEROS = Buffer.alloc(CHUNK_BYTES);

function hashAll({ contents }: HashRequest): HashAnswer {
  const blocks = contents.map((content) => (isZero(content) ? null : blocksOf(sizeOf(content))));
  const hashes = Buffer.allocUnsafeSlow(HASH_BYTES * blocks.reduce<number>((sum, count) => sum + (count ?? 0), 0));
  let at = 0;
  for (const [index, content] of contents.entries()) {
    const count = blocks[index] ?? 0;
    if (count === 0) continue;
    hashBlocks(content, hashes, at);
    at += count * HASH_BYTES;
  }
  return { hashes, blocks };
}

function pack({ chunks, keys }: PackRequest): PackAnswer {
  const stored = chunks.map(({ id, content }) => {
    const compressed = zstdCompressSync(joined(content), LEVEL);
    return keys ? seal(keys.encryption, compressed, id) : compressed;
  });
  return { bytes: concatenated(stored), sizes: stored.map(({ length }) => length) };
}

function unpack({ bytes, chunks, keys }: UnpackRequest): UnpackAnswer {
  const contents: Uint8Array[] = [];
  const hashes: Uint8Array[] = [];
  let at = 0;
  for (const [index, chunk] of chunks.entries()) {
    const stored = bytes.subarray(at, at + chunk.storedBytes);
    at += chunk.storedBytes;
    const content = decompress(stored, chunk, keys);
    const blockHashes = Buffer.allocUnsafeSlow(blocksOf(chunk.contentBytes) * HASH_BYTES);
    if (content) hashBlocks([content], blockHashes);
    if (content === null || chunkId(blockHashes, keys?.identity ?? null) !== chunk.id)
      return { contents: new Uint8Array(), hashes: new Uint8Array(), damaged: index };
    hashes.push(blockHashes);
    if (chunk.writes) execute(chunk.writes, content);
    else contents.push(content);
  }
  return { contents: concatenated(contents), hashes: concatenated(hashes), damaged: null };
}

/** Null for what is not sealed by this key, or no zstd frame of just this size; a hostile frame never yields more than that in memory. */
function decompress(stored: Uint8Array, { id, contentBytes }: StoredChunk, keys: ChunkKeys | null): Buffer | null {
  try {
    const compressed = keys ? open(keys.encryption, stored, id) : stored;
    if (compressed === null) return null;
    const content = zstdDecompressSync(compressed, { maxOutputLength: contentBytes });
    return content.length === contentBytes ? content : null;
  } catch {
    return null;
  }
}

function isZero(content: Content): boolean {
  return content.every((part) => ZEROS.subarray(0, part.length).equals(part));
}

function sizeOf(content: Content): number {
  return content.reduce((sum, part) => sum + part.length, 0);
}

function joined(content: Content): Uint8Array {
  const [only] = content;
  return only && content.length === 1 ? only : Buffer.concat(content);
}

/** In a buffer of its own, which can be handed to another thread without a copy. */
function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeOf(parts));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function answer(request: Request): Answer {
  if (request.kind === 'hash') return hashAll(request);
  return request.kind === 'pack' ? pack(request) : unpack(request);
}

function refusal(error: unknown): Refusal {
  if (!(error instanceof Error)) throw error;
  return { kind: 'refused', message: error.message, code: 'code' in error ? error.code : undefined };
}

parentPort?.on('message', (request: Request) => {
  let result: Answer | Refusal;
  try {
    result = answer(request);
  } catch (error) {
    result = refusal(error);
  }
  const buffers = Object.values(result).flatMap((value) => (value instanceof Uint8Array ? [value.buffer] : []));
  parentPort?.postMessage(result, buffers as ArrayBuffer[]);
});
