/** What the format is cut into, and how hard content is compressed; apart from the format's schemas, which not everybody needs. */
export { PAGE_BYTES } from '../criu/pageServer.ts';

/** Most content of a chunk, and the window of the address space that memory is cut at. */
export const CHUNK_BYTES = 256 * 1024;

/** Of zstd: packs windows of memory nearly as well as -1 and 1, in less than half their time. */
export const COMPRESSION_LEVEL = -3;
