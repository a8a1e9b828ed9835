/**
 * Content on its way into files: each chunk, whenever it comes, goes to every place that wants it.
 *
 * Two ways. Large files, memory above all, are written by the thread that has just verified the content: `writesFor` says
 * where to. Everything else is written here, by calls that block, in the engine's own process: for a small file each call
 * that does not block costs many times what it does.
 */
import { partsWithData } from './dataRanges.ts';
import type { Chunk } from './format.ts';
import { OpenFiles } from './openFiles.ts';
import { type Destination, type Place, Places } from './places.ts';
import { execute, type Write } from './writePlan.ts';

/** A file with fewer places for content than this is small: a descriptor is not worth handing round. */
const LARGE_FILE_PLACES = 4;
/** What stands in more places than this would keep too many files open while a thread has it. */
const MOST_WRITES_IN_THREAD = 16;

export class FileFiller implements Disposable {
  /** Numbers of the chunks that are to be brought, in order, each once. */
  readonly wanted: readonly number[];
  readonly #destinations: readonly Destination[];
  readonly #places: Places;
  readonly #files: OpenFiles;

  /** Throws `FreezerError` `corrupt` where pieces and files do not fit together. */
  constructor(destinations: readonly Destination[], chunks: readonly Chunk[]) {
    this.#destinations = destinations;
    this.#places = new Places(destinations, chunks);
    this.#files = new OpenFiles(
      destinations.map(({ path }) => path),
      this.#places.countOfFile,
    );
    this.wanted = this.#places.wanted();
  }

  /**
   * What a thread shall write; `written` must be called when it has. Null where the content is to be given to `fill` instead.
   */
  writesFor(chunk: number): Write[] | null {
    const places = this.#places.of(chunk);
    if (places.length > MOST_WRITES_IN_THREAD || !places.every((place) => this.#isForThreads(place))) return null;
    return places.map(({ file, fileOffset, contentOffset, sizeBytes }) => [
      this.#files.take(file),
      fileOffset,
      contentOffset,
      sizeBytes,
    ]);
  }

  /** To be called when a thread has done what `writesFor` said. Gives how many bytes that were. */
  written(chunk: number): number {
    const places = this.#places.of(chunk);
    for (const { file } of places) this.#files.release(file);
    return sumOf(places);
  }

  /** Writes a chunk's content to all its places, and gives how many bytes that were. Throws what the file system says. */
  fill(chunk: number, content: Uint8Array): number {
    const places = this.#places.of(chunk);
    for (const place of places) this.#write(place, content);
    return sumOf(places);
  }

  /** Throws unless every place has its content. */
  finish(): void {
    const missing = this.#files.writesLeft;
    if (missing > 0) throw new Error(`${missing} pieces of content have not been written: a defect of Floe.`);
  }

  /** Closes what is open. Not to be called while a thread writes. */
  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }

  #isForThreads({ file }: Place): boolean {
    const isSparse = this.#destinations[file]?.dataRanges !== undefined;
    return !isSparse && (this.#places.countOfFile[file] ?? 0) >= LARGE_FILE_PLACES;
  }

  #write({ file, fileOffset, contentOffset, sizeBytes }: Place, content: Uint8Array): void {
    const descriptor = this.#files.take(file);
    try {
      if (this.#destinations[file]?.dataRanges === undefined) {
        execute([[descriptor, fileOffset, contentOffset, sizeBytes]], content);
        return;
      }
      for (const { at, bytes } of partsWithData(content.subarray(contentOffset, contentOffset + sizeBytes))) {
        execute([[descriptor, fileOffset + at, 0, bytes.length]], bytes);
      }
    } finally {
      this.#files.release(file);
    }
  }
}

function sumOf(places: readonly Place[]): number {
  return places.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
