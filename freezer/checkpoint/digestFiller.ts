/** The digests of a checkpoint's pages, found out while it is read, so that the first freeze after a thaw sends no more than any other. */

import { countPages } from './baseMemory.ts';
import { type Index, PAGE_BYTES } from './format.ts';
import { DIGEST_BYTES, keepDigests, PageDigests, zeroDigests } from './pageDigests.ts';
import { partOf } from './pieces.ts';
import { Places } from './places.ts';

export class DigestFiller implements Disposable {
  readonly #directory: string;
  readonly #digests: PageDigests;
  readonly #places: Places;

  /** `directory`: the run's, see `FreezeOrder`; `seed`: that of the reader. Throws `FreezerError` `corrupt` where the memory's pieces do not fit its pages. */
  constructor(directory: string, index: Pick<Index, 'memory' | 'chunks'>, seed: bigint) {
    this.#directory = directory;
    const pieces = index.memory.flatMap((object) => object.pieces);
    this.#places = new Places([{ path: 'memory', sizeBytes: countPages(index) * PAGE_BYTES, pieces }], index.chunks);
    this.#digests = PageDigests.create(directory, seed);
    this.#digests.setPages(countPages(index));
    let page = 0;
    for (const piece of pieces) {
      const { chunk = null, sizeBytes = 0 } = partOf(piece, index.chunks) ?? {};
      const pages = sizeBytes / PAGE_BYTES;
      if (chunk === null) this.#digests.write(page, zeroDigests(pages, seed));
      page += pages;
    }
  }

  /** `digests` are those of the chunk's pages. */
  chunkRead(chunk: number, digests: Uint8Array): void {
    for (const { fileOffset, contentOffset, sizeBytes } of this.#places.of(chunk)) {
      const first = (contentOffset / PAGE_BYTES) * DIGEST_BYTES;
      const end = first + (sizeBytes / PAGE_BYTES) * DIGEST_BYTES;
      this.#digests.write(fileOffset / PAGE_BYTES, digests.subarray(first, end));
    }
  }

  /** They are those of this checkpoint now. What was not read stays unknown. */
  keep(checkpointId: string): void {
    this.#digests.flush();
    keepDigests(this.#directory, checkpointId);
  }

  [Symbol.dispose](): void {
    this.#digests[Symbol.dispose]();
  }
}
