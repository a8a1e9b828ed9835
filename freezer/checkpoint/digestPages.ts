/** Digests of pages (pageDigests.ts) from their content. Heavy work: for the codec, but for a page or two. */
import xxhash from 'xxhash-wasm';
import { DIGEST_BYTES, digestBytesOf, PAGE_BYTES } from './sizes.ts';

const { h64Raw } = await xxhash();

/** XXH64 of each whole page, one after the other, 8 bytes each, little-endian. */
export function digestPages(content: Uint8Array, seed: bigint): Buffer {
  const pages = Math.floor(content.length / PAGE_BYTES);
  const digests = Buffer.allocUnsafeSlow(digestBytesOf(content.length));
  for (let page = 0; page < pages; page++) {
    const bytes = content.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    digests.writeBigUInt64LE(h64Raw(bytes, seed), page * DIGEST_BYTES);
  }
  return digests;
}
