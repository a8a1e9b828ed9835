/** Where the content of each chunk belongs: the pieces of every destination, laid one after the other. */
import { FreezerError } from '../errors.ts';
import type { DataRange } from './dataRanges.ts';
import type { Chunk, Piece } from './format.ts';
import { partOf } from './pieces.ts';

/** A file that exists and is all holes, and the content that belongs into it. */
export interface Destination {
  readonly path: string;
  readonly sizeBytes: number;
  /** The content, in order. Zeros are left as holes. */
  readonly pieces: readonly Piece[];
  /** Where in a sparse file the content belongs; blocks of zeros in it are left as holes. Absent: everywhere. */
  readonly dataRanges?: readonly DataRange[] | undefined;
}

/** Some of a chunk's content in one file. */
export interface Place {
  /** The destination's number. */
  readonly file: number;
  readonly fileOffset: number;
  readonly contentOffset: number;
  readonly sizeBytes: number;
}

/**
 * The places of all chunks. In flat arrays, 20 bytes for a place: a large job has millions.
 *
 * Throws `FreezerError` `corrupt` for pieces that are not in the chunks, and for those that do not fill their file exactly.
 */
export class Places {
  /** A chunk's places begin here, and end where the next one's begin. */
  readonly #begins: Uint32Array;
  readonly #files: Uint32Array;
  readonly #fileOffsets: Float64Array;
  readonly #contentOffsets: Uint32Array;
  readonly #sizes: Uint32Array;
  /** How many places each file has. */
  readonly countOfFile: Uint32Array;

  constructor(destinations: readonly Destination[], chunks: readonly Chunk[]) {
    this.countOfFile = new Uint32Array(destinations.length);
    const counts = new Uint32Array(chunks.length);
    layAll(destinations, chunks, (chunk, { file }) => {
      counts[chunk] = (counts[chunk] ?? 0) + 1;
      this.countOfFile[file] = (this.countOfFile[file] ?? 0) + 1;
    });
    this.#begins = sumsOf(counts);
    const total = this.#begins.at(-1) ?? 0;
    this.#files = new Uint32Array(total);
    this.#fileOffsets = new Float64Array(total);
    this.#contentOffsets = new Uint32Array(total);
    this.#sizes = new Uint32Array(total);
    const next = this.#begins.slice();
    layAll(destinations, chunks, (chunk, { file, fileOffset, contentOffset, sizeBytes }) => {
      const at = next[chunk] ?? 0;
      next[chunk] = at + 1;
      this.#files[at] = file;
      this.#fileOffsets[at] = fileOffset;
      this.#contentOffsets[at] = contentOffset;
      this.#sizes[at] = sizeBytes;
    });
  }

  /** Numbers of the chunks that have a place, in order. */
  wanted(): number[] {
    const numbers: number[] = [];
    for (let chunk = 0; chunk + 1 < this.#begins.length; chunk++) {
      if (this.#begins[chunk] !== this.#begins[chunk + 1]) numbers.push(chunk);
    }
    return numbers;
  }

  of(chunk: number): Place[] {
    const places: Place[] = [];
    const end = this.#begins[chunk + 1] ?? 0;
    for (let at = this.#begins[chunk] ?? end; at < end; at++) {
      places.push({
        file: this.#files[at] ?? 0,
        fileOffset: this.#fileOffsets[at] ?? 0,
        contentOffset: this.#contentOffsets[at] ?? 0,
        sizeBytes: this.#sizes[at] ?? 0,
      });
    }
    return places;
  }
}

/** Zero first, then the sum of all up to each. */
function sumsOf(counts: Uint32Array): Uint32Array {
  const sums = new Uint32Array(counts.length + 1);
  for (const [at, count] of counts.entries()) sums[at + 1] = (sums[at] ?? 0) + count;
  return sums;
}

/** No generator: a lazy thaw waits for this, and it would take three times as long. */
type OnPlace = (chunk: number, place: Place) => void;

function layAll(destinations: readonly Destination[], chunks: readonly Chunk[], onPlace: OnPlace): void {
  for (const [file, destination] of destinations.entries()) lay(destination, file, chunks, onPlace);
}

function lay(destination: Destination, file: number, chunks: readonly Chunk[], onPlace: OnPlace): void {
  const { path, sizeBytes: fileBytes, dataRanges = [[0, fileBytes]] } = destination;
  const { pieces } = destination;
  let next = 0;
  for (const [begin, rangeBytes] of dataRanges) {
    const end = begin + rangeBytes;
    if (end > fileBytes) throw corrupt(`${path} has data beyond its end`);
    for (let fileOffset = begin; fileOffset < end; ) {
      const piece = pieces[next++];
      if (piece === undefined) throw corrupt(`content of ${path} is missing`);
      const part = partOf(piece, chunks);
      if (!part) throw corrupt(`content of ${path} is not in the index`);
      const { chunk, offset: contentOffset, sizeBytes } = part;
      if (fileOffset + sizeBytes > end) throw corrupt(`content of ${path} is not where the file has data`);
      if (chunk !== null) onPlace(chunk, { file, fileOffset, contentOffset, sizeBytes });
      fileOffset += sizeBytes;
    }
  }
  if (next < pieces.length) throw corrupt(`${path} has more content than its size`);
}

function corrupt(what: string): FreezerError {
  return new FreezerError(
    'corrupt',
    `The checkpoint is corrupt: ${what}.`,
    'Floe falls back to the checkpoint before it.',
  );
}
