/** Digests of pages (pageDigests.ts) from their content. For the threads: it is heavy work, and brings WebAssembly with it. */
import xxhash from 'xxhash-wasm';
import { PAGE_BYTES } from './format.ts';
import { DIGEST_BYTES } from './pageDigests.ts';

const { h64Raw } = await xxhash();

/** XXH64 of each whole page, one after the other, little-endian. */
export function digestPages(content: Uint8Array): Buffer {
  const pages = Math.floor(content.length / PAGE_BYTES);
  const digests = Buffer.allocUnsafeSlow(pages * DIGEST_BYTES);
  for (let page = 0; page < pages; page++) {
    const bytes = content.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    digests.writeBigUInt64LE(h64Raw(bytes), page * DIGEST_BYTES);
  }
  return digests;
}
