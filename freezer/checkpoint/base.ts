/**
 * What the job's last checkpoint has in the store already, to be referred to and not sent again.
 *
 * Chunks in packs that are mostly dead by now (`LEAST_LIVE` of their bytes are still in use) count as not there: they are sent
 * once more, and the pack goes with the last checkpoint that names it. So a job takes at most about twice its size
 * for each checkpoint that is kept, however often it has been frozen. Nor may small packs pile up, as each checkpoint of a job that
 * changes little leaves one: beyond `MOST_SMALL` they are sent once more, as few large ones.
 */
import type { Chunk, Index, Manifest, Piece } from './format.ts';
import { partOf } from './pieces.ts';

const LEAST_LIVE = 0.5;
const SMALL_PACK_BYTES = 4 * 2 ** 20;
const MOST_SMALL = 64;

export class Base {
  readonly id: string;
  readonly index: Index;
  readonly #packs: Manifest['packs'];
  readonly #isPackGood: boolean[];
  readonly #byId = new Map<string, number>();

  constructor(manifest: Manifest, index: Index) {
    this.id = manifest.id;
    this.index = index;
    this.#packs = manifest.packs;
    this.#isPackGood = goodPacks(manifest, index);
    for (const [number, [id]] of index.chunks.entries()) {
      if (this.isReusable(number)) this.#byId.set(id, number);
    }
  }

  /** The number of a chunk that may be referred to. */
  find(id: string): number | undefined {
    return this.#byId.get(id);
  }

  isReusable(chunk: number): boolean {
    return this.#isPackGood[this.index.chunks[chunk]?.[1] ?? -1] ?? false;
  }

  chunk(number: number): Chunk {
    const chunk = this.index.chunks[number];
    if (!chunk) throw new Error(`The base has no chunk ${number}.`);
    return chunk;
  }

  pack(number: number): Manifest['packs'][number] {
    const pack = this.#packs[number];
    if (!pack) throw new Error(`The base has no pack ${number}.`);
    return pack;
  }
}

/** A chunk of which only a part is in use counts by that part. */
function goodPacks({ packs }: Manifest, index: Index): boolean[] {
  const usedByChunk = new Float64Array(index.chunks.length);
  const count = (pieces: readonly Piece[]) => {
    for (const piece of pieces) {
      const part = partOf(piece, index.chunks);
      if (part && part.chunk !== null) usedByChunk[part.chunk] = (usedByChunk[part.chunk] ?? 0) + part.sizeBytes;
    }
  };
  for (const { pieces } of [...index.memory, ...index.images]) count(pieces);
  for (const file of index.files) if (file.type === 'file') count(file.pieces);
  const live = new Float64Array(packs.length);
  for (const [number, [, pack, , storedBytes, contentBytes]] of index.chunks.entries()) {
    const share = Math.min(1, (usedByChunk[number] ?? 0) / contentBytes);
    live[pack] = (live[pack] ?? 0) + storedBytes * share;
  }
  const areSmallMany = packs.filter(isSmall).length > MOST_SMALL;
  return packs.map(
    (pack, number) => (live[number] ?? 0) >= pack.sizeBytes * LEAST_LIVE && !(areSmallMany && isSmall(pack)),
  );
}

function isSmall({ sizeBytes }: Manifest['packs'][number]): boolean {
  return sizeBytes < SMALL_PACK_BYTES;
}
