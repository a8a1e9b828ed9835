/** What the format is cut into; apart from its schemas, because the compressor threads need nothing else of it. */
export { PAGE_BYTES } from '../criu/pageServer.ts';

/** Most content of a chunk, and the window of the address space that memory is cut at. */
export const CHUNK_BYTES = 256 * 1024;
