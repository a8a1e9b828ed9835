/** Single pages of many windows, gathered into chunks. */
import { HASH_BYTES } from './blocks.ts';
import type { ChunkWriter } from './chunkWriter.ts';
import { BLOCK_BYTES, CHUNK_BYTES } from './format.ts';
import type { Part } from './pieces.ts';

const PAGES = CHUNK_BYTES / BLOCK_BYTES;
const ZERO_PAGE = Buffer.alloc(BLOCK_BYTES);

interface Gathering {
  readonly number: number;
  /** Shared, for the threads; no slab's, because it fills up slowly and would hold many. */
  readonly content: Uint8Array;
  readonly hashes: Uint8Array;
  pages: number;
}

export class ChangedPages {
  readonly #writer: ChunkWriter;
  #gathering: Gathering | null = null;

  constructor(writer: ChunkWriter) {
    this.#writer = writer;
  }

  /** Copies the page; its part is at once what it will be. */
  add(page: Uint8Array, hash: Uint8Array): Part {
    if (ZERO_PAGE.equals(page)) return { chunk: null, offset: 0, sizeBytes: BLOCK_BYTES };
    this.#gathering ??= this.#begin();
    const { number, content, hashes, pages } = this.#gathering;
    const offset = pages * BLOCK_BYTES;
    content.set(page, offset);
    hashes.set(hash, pages * HASH_BYTES);
    if (++this.#gathering.pages === PAGES) this.flush();
    return { chunk: number, offset, sizeBytes: BLOCK_BYTES };
  }

  /** What has been gathered is a chunk now. */
  flush(): void {
    if (this.#gathering === null) return;
    const { number, content, hashes, pages } = this.#gathering;
    this.#gathering = null;
    this.#writer.storeReserved(
      number,
      [content.subarray(0, pages * BLOCK_BYTES)],
      hashes.subarray(0, pages * HASH_BYTES),
    );
  }

  #begin(): Gathering {
    return {
      number: this.#writer.reserve(),
      content: new Uint8Array(new SharedArrayBuffer(CHUNK_BYTES)),
      hashes: new Uint8Array(PAGES * HASH_BYTES),
      pages: 0,
    };
  }
}
