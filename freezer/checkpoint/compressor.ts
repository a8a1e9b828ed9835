/** Worker thread: examines and compresses content on its way out, decompresses and verifies it on its way in. */
import { parentPort } from 'node:worker_threads';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { open, seal } from '../encryption/seal.ts';
import { chunkId } from './chunkId.ts';
import { bytesOf, type Content } from './content.ts';
import { digestPages } from './digestPages.ts';
import { CHUNK_BYTES } from './sizes.ts';
import { execute, type Write } from './writePlan.ts';

/** What a chunk's id and its seal are made with; null where nothing is encrypted. */
export interface ChunkKeys {
  readonly identity: Uint8Array;
  readonly encryption: Uint8Array;
}

/** What is asked about some content. Whether it is all zeros is told always. */
export interface Question {
  readonly content: Content;
  /** Of the chunk that it is. */
  readonly id: boolean;
  /** Of its pages. */
  readonly digests: boolean;
  /** What the chunk is stored as; with `id` only. All while the content is in the processor's cache. */
  readonly stored: boolean;
}
export type ExamineRequest = { kind: 'examine'; questions: Question[]; keys: ChunkKeys | null; digestSeed: bigint };
/**
 * Ids are null where none was asked for or all is zeros. The digests of those that asked are one after the other, and so is what is
 * to be stored, with 0 among `storedSizes` for what is not.
 */
export type ExamineAnswer = {
  isZero: boolean[];
  ids: (string | null)[];
  digests: Uint8Array;
  stored: Uint8Array;
  storedSizes: number[];
};

export interface StoredChunk {
  readonly id: string;
  readonly storedBytes: number;
  readonly contentBytes: number;
  /** Where its content is to be written; absent when it is to be handed back. */
  readonly writes?: readonly Write[];
}
/** Stored chunks, one after the other. */
export type UnpackRequest = {
  kind: 'unpack';
  bytes: Uint8Array;
  chunks: StoredChunk[];
  keys: ChunkKeys | null;
  /** Null where nobody wants digests. */
  digestSeed: bigint | null;
};
/** Contents to hand back and the digests of all pages, one after the other; or `damaged`, the first chunk that did not verify. */
export type UnpackAnswer = { contents: Uint8Array; digests: Uint8Array; damaged: number | null };

export type Request = ExamineRequest | UnpackRequest;
export type Answer = ExamineAnswer | UnpackAnswer;
/** What kept a thread from an answer: an error of the file system's where it writes. */
export type Refusal = { kind: 'refused'; message: string; code: unknown };

/** Packs windows of memory nearly as well as -1 and 1, in less than half their time. */
const COMPRESSION = {
  params: { [constants.ZSTD_c_compressionLevel]: -3 },
  // What most content becomes: more would be more memory to fault in, and growing the output bit by bit costs as much.
  chunkSize: CHUNK_BYTES / 2,
};
/**
 * Of the space for what is decompressed, over what is expected: Node takes no less, and asks for a second space when the first one is
 * full to the last byte. All in one piece: put together from many it takes twice as long.
 */
const SPARE_OUTPUT_BYTES = 64;
const ZEROS = Buffer.alloc(CHUNK_BYTES);
/** For content that is not in one place. */
const SPACE = new Uint8Array(CHUNK_BYTES);

function examine({ questions, keys, digestSeed }: ExamineRequest): ExamineAnswer {
  const isZero: boolean[] = [];
  const ids: (string | null)[] = [];
  const digests: Uint8Array[] = [];
  const stored: Uint8Array[] = [];
  const storedSizes: number[] = [];
  for (const question of questions) {
    const content = bytesOf(question.content, SPACE);
    const isAllZeros = ZEROS.subarray(0, content.length).equals(content);
    const id = question.id && !isAllZeros ? chunkId(content, keys?.identity ?? null) : null;
    isZero.push(isAllZeros);
    ids.push(id);
    if (question.digests) digests.push(digestPages(content, digestSeed));
    const packed = question.stored && id !== null ? store(content, id, keys) : null;
    if (packed) stored.push(packed);
    storedSizes.push(packed?.length ?? 0);
  }
  return { isZero, ids, digests: concatenated(digests), stored: concatenated(stored), storedSizes };
}

function store(content: Uint8Array, id: string, keys: ChunkKeys | null): Uint8Array {
  const compressed = zstdCompressSync(content, COMPRESSION);
  return keys ? seal(keys.encryption, compressed, id) : compressed;
}

function unpack({ bytes, chunks, keys, digestSeed }: UnpackRequest): UnpackAnswer {
  const digests: Uint8Array[] = [];
  const kept: Uint8Array[] = [];
  const contents = decompress(bytes, chunks, keys);
  for (const [index, chunk] of chunks.entries()) {
    const content = contents[index] ?? null;
    if (content === null || chunkId(content, keys?.identity ?? null) !== chunk.id)
      return { contents: new Uint8Array(), digests: new Uint8Array(), damaged: index };
    if (digestSeed !== null) digests.push(digestPages(content, digestSeed));
    if (chunk.writes) execute(chunk.writes, content);
    else kept.push(content);
  }
  return { contents: concatenated(kept), digests: concatenated(digests), damaged: null };
}

/**
 * All in one go, with one output: each go makes a context and a buffer, and the garbage collector runs for every 64 MiB of these. Null
 * for what does not decompress to its size; what it is remains to be seen.
 */
function decompress(bytes: Uint8Array, chunks: readonly StoredChunk[], keys: ChunkKeys | null): (Uint8Array | null)[] {
  const sealed = cut(
    bytes,
    chunks.map(({ storedBytes }) => storedBytes),
  );
  const stored = sealed.map((one, index) => (keys ? open(keys.encryption, one, chunks[index]?.id ?? '') : one));
  const sizes = chunks.map(({ contentBytes }) => contentBytes);
  const sound = stored.filter((one) => one !== null);
  if (sound.length === stored.length) {
    const all = contentOf(
      keys ? Buffer.concat(sound) : bytes,
      sizes.reduce((sum, size) => sum + size, 0),
    );
    if (all) return cut(all, sizes);
  }
  // One of them is damaged. Which, only each by itself can tell.
  return stored.map((one, index) => one && contentOf(one, sizes[index] ?? 0));
}

/** Parts of these sizes, one after the other. */
function cut(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  let end = 0;
  return sizes.map((size) => {
    end += size;
    return bytes.subarray(end - size, end);
  });
}

/** What zstd's frames hold. Null where that is not of just this size; a hostile frame never yields more than that in memory. */
function contentOf(compressed: Uint8Array, sizeBytes: number): Uint8Array | null {
  try {
    const options = { maxOutputLength: sizeBytes, chunkSize: sizeBytes + SPARE_OUTPUT_BYTES };
    const content = zstdDecompressSync(compressed, options);
    return content.length === sizeBytes ? content : null;
  } catch {
    return null;
  }
}

/** In a buffer of its own, which can be handed to another thread without a copy. */
function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function answer(request: Request): Answer {
  return request.kind === 'examine' ? examine(request) : unpack(request);
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
