/** Worker thread: examines and compresses content on its way out, decompresses and verifies it on its way in. */
import { parentPort } from 'node:worker_threads';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { open, seal } from '../encryption/seal.ts';
import { chunkId } from './chunkId.ts';
import { digestPages } from './digestPages.ts';
import { CHUNK_BYTES } from './format.ts';
import { joined } from './joined.ts';
import { execute, type Write } from './writePlan.ts';

/** Content in parts, in memory that is shared; nobody changes it until the answer is there. */
export type Content = readonly Uint8Array[];

/** What a chunk's id and its seal are made with; null where nothing is encrypted. */
export interface ChunkKeys {
  readonly identity: Uint8Array;
  readonly encryption: Uint8Array;
}

/** What is asked about some content: its chunk's id, the digests of its pages. Whether it is all zeros is told always. */
export interface Question {
  readonly content: Content;
  readonly id: boolean;
  readonly digests: boolean;
}
export type ExamineRequest = { kind: 'examine'; questions: Question[]; keys: ChunkKeys | null; digestSeed: bigint };
/** Ids are null where none was asked for or all is zeros; the digests of those that asked are one after the other. */
export type ExamineAnswer = { isZero: boolean[]; ids: (string | null)[]; digests: Uint8Array };

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

export type Request = ExamineRequest | PackRequest | UnpackRequest;
export type Answer = ExamineAnswer | PackAnswer | UnpackAnswer;
/** What kept a thread from an answer: an error of the file system's where it writes. */
export type Refusal = { kind: 'refused'; message: string; code: unknown };

/** Packs windows of memory nearly as well as -1 and 1, in less than half their time. */
const COMPRESSION = {
  params: { [constants.ZSTD_c_compressionLevel]: -3 },
  // What most content becomes: more would be more memory to fault in, and growing the output bit by bit costs as much.
  chunkSize: CHUNK_BYTES / 2,
};
/** Node takes no less for `chunkSize`. All the output in one piece: put together from many it takes twice as long. */
const LEAST_OUTPUT_BYTES = 64;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

function examine({ questions, keys, digestSeed }: ExamineRequest): ExamineAnswer {
  const isZero = questions.map(({ content }) => content.every(isAllZeros));
  const ids = questions.map(({ content, id }, at) =>
    id && !isZero[at] ? chunkId(content, keys?.identity ?? null) : null,
  );
  const digests = questions.flatMap(({ content, digests: asked }) =>
    asked ? [digestPages(joined(content), digestSeed)] : [],
  );
  return { isZero, ids, digests: concatenated(digests) };
}

function pack({ chunks, keys }: PackRequest): PackAnswer {
  const stored = chunks.map(({ id, content }) => {
    const compressed = zstdCompressSync(joined(content), COMPRESSION);
    return keys ? seal(keys.encryption, compressed, id) : compressed;
  });
  return { bytes: concatenated(stored), sizes: stored.map(({ length }) => length) };
}

function unpack({ bytes, chunks, keys, digestSeed }: UnpackRequest): UnpackAnswer {
  const contents: Uint8Array[] = [];
  const digests: Uint8Array[] = [];
  let at = 0;
  for (const [index, chunk] of chunks.entries()) {
    const content = decompress(bytes.subarray(at, at + chunk.storedBytes), chunk, keys);
    at += chunk.storedBytes;
    if (content === null || chunkId([content], keys?.identity ?? null) !== chunk.id)
      return { contents: new Uint8Array(), digests: new Uint8Array(), damaged: index };
    if (digestSeed !== null) digests.push(digestPages(content, digestSeed));
    if (chunk.writes) execute(chunk.writes, content);
    else contents.push(content);
  }
  return { contents: concatenated(contents), digests: concatenated(digests), damaged: null };
}

/** Null for what is not sealed by this key, or no zstd frame of just this size; a hostile frame never yields more than that in memory. */
function decompress(stored: Uint8Array, { id, contentBytes }: StoredChunk, keys: ChunkKeys | null): Buffer | null {
  try {
    const compressed = keys ? open(keys.encryption, stored, id) : stored;
    if (compressed === null) return null;
    const chunkSize = Math.max(LEAST_OUTPUT_BYTES, contentBytes);
    const content = zstdDecompressSync(compressed, { maxOutputLength: contentBytes, chunkSize });
    return content.length === contentBytes ? content : null;
  } catch {
    return null;
  }
}

function isAllZeros(part: Uint8Array): boolean {
  return ZEROS.subarray(0, part.length).equals(part);
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
  if (request.kind === 'examine') return examine(request);
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
