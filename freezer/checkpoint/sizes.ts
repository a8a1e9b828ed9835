/** What the format is cut into, and how hard content is compressed; apart from the format's schemas, which not everybody needs. */
import { PAGE_BYTES } from '../criu/pageServer.ts';

export { PAGE_BYTES };

/** Most content of a chunk, and the window of the address space that memory is cut at. */
export const CHUNK_BYTES = 256 * 1024;

/** Of a page's digest (pageDigests.ts). */
export const DIGEST_BYTES = 8;

/** Of the digests of all whole pages in so much content. */
export function digestBytesOf(contentBytes: number): number {
  return Math.floor(contentBytes / PAGE_BYTES) * DIGEST_BYTES;
}

/** Of zstd: packs windows of memory nearly as well as -1 and 1, in less than half their time. */
export const COMPRESSION_LEVEL = -3;
