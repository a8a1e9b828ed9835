/** Worker thread: hashes and compresses batches of chunks on the way out, decompresses and verifies them on the way in. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

/** Pieces of `bytes`, one after the other: the size of each. */
export type PackRequest = { kind: 'pack'; bytes: Uint8Array; sizes: number[] };
/** `sha256` is null for a piece that is all zeros: it has no stored bytes. */
export type PackedChunk = { sha256: string | null; contentBytes: number; storedBytes: number };
export type PackAnswer = { chunks: PackedChunk[]; bytes: Uint8Array; spent: Uint8Array };

/** Stored pieces, one after the other, and what each must turn into. */
export type UnpackRequest = {
  kind: 'unpack';
  bytes: Uint8Array;
  chunks: { sha256: string; storedBytes: number; contentBytes: number }[];
};
/** `damaged` is the index of the first piece that did not verify. */
export type UnpackAnswer = { bytes: Uint8Array; damaged: number | null };

const ZEROS = Buffer.alloc(256 * 1024);
/** -1 costs about what lz4 does and packs better. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: -1 } };

function pack({ bytes, sizes }: PackRequest): PackAnswer {
  const stored: Buffer[] = [];
  let at = 0;
  const chunks = sizes.map((contentBytes): PackedChunk => {
    const content = bytes.subarray(at, at + contentBytes);
    at += contentBytes;
    if (ZEROS.subarray(0, contentBytes).equals(content)) return { sha256: null, contentBytes, storedBytes: 0 };
    const compressed = zstdCompressSync(content, LEVEL);
    stored.push(compressed);
    return { sha256: createHash('sha256').update(content).digest('hex'), contentBytes, storedBytes: compressed.length };
  });
  return { chunks, bytes: joined(stored), spent: bytes };
}

function unpack({ bytes, chunks }: UnpackRequest): UnpackAnswer {
  const contents: Buffer[] = [];
  let at = 0;
  for (const [index, chunk] of chunks.entries()) {
    const content = decompress(bytes.subarray(at, at + chunk.storedBytes), chunk.contentBytes);
    at += chunk.storedBytes;
    if (content === null || createHash('sha256').update(content).digest('hex') !== chunk.sha256) {
      return { bytes: new Uint8Array(), damaged: index };
    }
    contents.push(content);
  }
  return { bytes: joined(contents), damaged: null };
}

/** Null for what is no zstd frame of just this size; a hostile frame never yields more than that in memory. */
function decompress(stored: Uint8Array, contentBytes: number): Buffer | null {
  try {
    const content = zstdDecompressSync(stored, { maxOutputLength: contentBytes });
    return content.length === contentBytes ? content : null;
  } catch {
    return null;
  }
}

/** In a buffer of its own, which can be handed to another thread without a copy. */
function joined(parts: Buffer[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

parentPort?.on('message', (request: PackRequest | UnpackRequest) => {
  const answer = request.kind === 'pack' ? pack(request) : unpack(request);
  const transfer = [answer.bytes.buffer, ...('spent' in answer ? [answer.spent.buffer] : [])];
  parentPort?.postMessage(answer, transfer as ArrayBuffer[]);
});
