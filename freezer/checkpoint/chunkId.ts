/** What names content. */
import { createHash, createHmac } from 'node:crypto';

/**
 * SHA-256 of content as it is compressed, in hexadecimal; with a key HMAC-SHA256, which tells nothing of the content to those who have not
 * got that. Compressed, because there is less of it, and because nothing that has not been proved need be decompressed.
 */
export function chunkId(frame: Uint8Array, identityKey: Uint8Array | null): string {
  const hashing = identityKey === null ? createHash('sha256') : createHmac('sha256', identityKey);
  return hashing.update(frame).digest('hex');
}
