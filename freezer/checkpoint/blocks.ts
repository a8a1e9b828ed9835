/** What names content: the hashes of its blocks, and from those the id of a chunk. */
import { createHash, createHmac, hash } from 'node:crypto';
import { BLOCK_BYTES } from './format.ts';

export const HASH_BYTES = 32;

export function blocksOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES);
}

/**
 * SHA-256 of each block of the content that the parts are when joined, one after the other in `into` from `at` on. Block by
 * block, because memory is compared page by page with what it was before; it costs an eighth more than one hash of it all.
 */
export function hashBlocks(parts: readonly Uint8Array[], into: Buffer, at = 0): void {
  let [target, waiting] = [at, 0];
  for (const part of parts) {
    let offset = 0;
    if (waiting > 0) {
      offset = Math.min(BLOCK_BYTES - waiting, part.length);
      split.set(part.subarray(0, offset), waiting);
      waiting += offset;
      if (waiting < BLOCK_BYTES) continue;
      target = writeHash(split, into, target);
      waiting = 0;
    }
    for (; offset + BLOCK_BYTES <= part.length; offset += BLOCK_BYTES) {
      target = writeHash(part.subarray(offset, offset + BLOCK_BYTES), into, target);
    }
    split.set(part.subarray(offset));
    waiting = part.length - offset;
  }
  if (waiting > 0) writeHash(split.subarray(0, waiting), into, target);
}

/** A block that begins in one part and ends in another. */
const split = Buffer.alloc(BLOCK_BYTES);

function writeHash(block: Uint8Array, into: Buffer, at: number): number {
  // As text of one byte a character: a Buffer for each hash would cost half as much again as the hash.
  return at + into.write(hash('sha256', block, 'latin1'), at, 'latin1');
}

/** In hexadecimal. With a key it tells nothing of the content to those who have not got that. */
export function chunkId(blockHashes: Uint8Array, identityKey: Uint8Array | null): string {
  const hashing = identityKey === null ? createHash('sha256') : createHmac('sha256', identityKey);
  return hashing.update(blockHashes).digest('hex');
}
