/** Single pages of many windows, gathered into chunks. */
import type { ChunkWriter } from './chunkWriter.ts';
import { CHUNK_BYTES, PAGE_BYTES } from './format.ts';
import type { Part } from './pieces.ts';

const PAGES = CHUNK_BYTES / PAGE_BYTES;

interface Gathering {
  readonly number: number;
  /** No slab's, because it fills up slowly and would hold many. */
  readonly content: Uint8Array;
  pages: number;
}

export class ChangedPages {
  readonly #writer: ChunkWriter;
  #gathering: Gathering | null = null;

  constructor(writer: ChunkWriter) {
    this.#writer = writer;
  }

  /** Copies the page; its part is at once what it will be. */
  add(page: Uint8Array): Part {
    this.#gathering ??= this.#begin();
    const { number, content, pages } = this.#gathering;
    const offset = pages * PAGE_BYTES;
    content.set(page, offset);
    if (++this.#gathering.pages === PAGES) this.flush();
    return { chunk: number, offset, sizeBytes: PAGE_BYTES };
  }

  /** What has been gathered is a chunk now. */
  flush(): void {
    if (this.#gathering === null) return;
    const { number, content, pages } = this.#gathering;
    this.#gathering = null;
    this.#writer.storeReserved(number, [content.subarray(0, pages * PAGE_BYTES)]);
  }

  #begin(): Gathering {
    return {
      number: this.#writer.reserve(),
      content: new Uint8Array(CHUNK_BYTES),
      pages: 0,
    };
  }
}
