/** What names content. */
import { createHash, createHmac } from 'node:crypto';

/**
 * SHA-256 of the content, in hexadecimal; with a key HMAC-SHA256, which tells nothing of the content to those who have not got
 * that.
 */
export function chunkId(content: Uint8Array, identityKey: Uint8Array | null): string {
  const hashing = identityKey === null ? createHash('sha256') : createHmac('sha256', identityKey);
  return hashing.update(content).digest('hex');
}
