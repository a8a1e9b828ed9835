/** The codec by Node's own modules: slow, and on the caller's thread. What native/codec.c does is told by this. */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { open, seal } from '../encryption/seal.ts';
import { chunkId } from './chunkId.ts';
import type {
  ChunkKeys,
  Coding,
  ExamineRequest,
  Finding,
  Question,
  StoredChunk,
  Unpacked,
  UnpackRequest,
} from './codec.ts';
import { bytesOf } from './content.ts';
import { digestPages } from './digestPages.ts';
import { CHUNK_BYTES, COMPRESSION_LEVEL } from './sizes.ts';
import { execute } from './writePlan.ts';

const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL } };
const NOTHING = new Uint8Array();
const ZEROS = Buffer.alloc(CHUNK_BYTES);

export const plainCodec: Coding = {
  async examine({ questions, keys, digestSeed }: ExamineRequest) {
    const findings = questions.map((question) => examine(question, keys, digestSeed));
    return { findings, [Symbol.dispose]: () => undefined };
  },

  async unpack({ bytes, chunks, keys, digestSeed, memoryFor }: UnpackRequest): Promise<Unpacked> {
    const [contents, digests]: [Uint8Array[], Uint8Array[]] = [[], []];
    for (const [number, chunk] of chunks.entries()) {
      const content = contentOf(chunk, bytes.subarray(chunk.offset, chunk.offset + chunk.storedBytes), keys);
      if (content === null) return { contents: NOTHING, digests: NOTHING, damaged: number };
      if (digestSeed !== null) digests.push(digestPages(content, digestSeed));
      if (chunk.writes) execute(chunk.writes, content);
      else contents.push(content);
    }
    const handedBack = Buffer.concat([...digests, ...contents]);
    const output = memoryFor?.(handedBack.length) ?? handedBack;
    if (output !== handedBack) output.set(handedBack);
    const digestBytes = digests.reduce((sum, { length }) => sum + length, 0);
    return { contents: output.subarray(digestBytes), digests: output.subarray(0, digestBytes), damaged: null };
  },
};

function examine(question: Question, keys: ChunkKeys | null, digestSeed: bigint): Finding {
  const content = bytesOf(question.content, new Uint8Array(CHUNK_BYTES));
  const isZero = ZEROS.subarray(0, content.length).equals(content);
  const digests = question.digests ? digestPages(content, digestSeed) : NOTHING;
  if (isZero || !question.stored) return { isZero, digests, id: '', stored: NOTHING };
  const frame = zstdCompressSync(content, COMPRESSION);
  const id = chunkId(frame, keys?.identity ?? null);
  return { isZero, digests, id, stored: keys ? seal(keys.encryption, frame, id) : frame };
}

/** Null for what is not the chunk of this id. Nothing unproved is decompressed. */
function contentOf({ id, contentBytes }: StoredChunk, stored: Uint8Array, keys: ChunkKeys | null): Uint8Array | null {
  const frame = keys ? open(keys.encryption, stored, id) : stored;
  if (frame === null || (!keys && chunkId(frame, null) !== id)) return null;
  try {
    const content = zstdDecompressSync(frame, { maxOutputLength: contentBytes });
    return content.length === contentBytes ? content : null;
  } catch {
    // Whoever wrote it gave it the right id, but it is no frame of this size.
    return null;
  }
}
