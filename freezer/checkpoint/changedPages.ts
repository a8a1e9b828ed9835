/** Single pages of many windows, gathered into chunks. */
import type { ChunkWriter } from './chunkWriter.ts';
import type { ContentPart } from './content.ts';
import { CHUNK_BYTES, PAGE_BYTES } from './format.ts';
import type { Part } from './pieces.ts';

const PAGES = CHUNK_BYTES / PAGE_BYTES;

interface Gathering {
  /** Of the chunk. */
  readonly number: number;
  readonly pages: ContentPart[];
}

export class ChangedPages {
  readonly #writer: ChunkWriter;
  #gathering: Gathering | null = null;

  constructor(writer: ChunkWriter) {
    this.#writer = writer;
  }

  /** What the page will be part of, at once. One in memory is copied: this fills up slowly, and its slab would be held for as long. */
  add(page: ContentPart): Part {
    this.#gathering ??= { number: this.#writer.reserve(), pages: [] };
    const { number, pages } = this.#gathering;
    const offset = pages.length * PAGE_BYTES;
    pages.push(page instanceof Uint8Array ? Uint8Array.from(page) : page);
    if (pages.length === PAGES) this.flush();
    return { chunk: number, offset, sizeBytes: PAGE_BYTES };
  }

  /** What has been gathered is a chunk now. */
  flush(): void {
    if (this.#gathering === null) return;
    const { number, pages } = this.#gathering;
    this.#gathering = null;
    this.#writer.storeReserved(number, pages);
  }
}
