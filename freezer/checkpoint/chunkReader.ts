/**
 * From packs in the store to content in files: packs are fetched several at a time, the compressor threads decompress and
 * verify each chunk, and every place that wants its content gets it. Memory is bounded by the packs under way.
 */
import { type FileHandle, open } from 'node:fs/promises';
import pLimit from 'p-limit';
import type { Store } from '../../store/store.ts';
import { FreezerError } from '../errors.ts';
import { readFailed } from './catalogue.ts';
import type { Compressors } from './compressors.ts';
import { type DataRange, partsWithData } from './dataRanges.ts';
import type { Index } from './format.ts';

const PACKS_IN_FLIGHT = 3;
const BATCH_CHUNKS = 16;

/** Content of chunks, in order, that belongs into the file at `path`, which exists. */
export interface Destination {
  readonly path: string;
  readonly chunks: readonly number[];
  /** Where in a sparse file the content belongs; blocks of zeros in it are left as holes. Absent: from the beginning. */
  readonly dataRanges?: readonly DataRange[] | undefined;
}

interface Place {
  readonly file: number;
  readonly offset: number;
}

type StoredChunk = Index['chunks'][number];
/** One chunk of a pack, and where its content goes. */
type Wanted = { chunk: StoredChunk; places: Place[] };

/**
 * Fills the destinations. Zero chunks are left as the holes that new files have. Throws `FreezerError` `corrupt` for the
 * first chunk that is not what the index says, `storeFailed` when a pack cannot be read.
 */
export async function readChunksInto(
  destinations: readonly Destination[],
  index: Index,
  from: {
    store: Store;
    prefix: string;
    compressors: Compressors;
    signal: AbortSignal;
    onRead: (bytes: number) => void;
  },
): Promise<void> {
  const wantedByPack = placeChunks(destinations, index);
  await using files = new OpenFiles(destinations);
  const limit = pLimit(PACKS_IN_FLIGHT);
  const stop = new AbortController();
  const signal = AbortSignal.any([from.signal, stop.signal]);
  let failure: unknown;
  const reads = [...wantedByPack].map(([pack, wanted]) =>
    limit(() => readPack(pack, wanted, index, files, { ...from, signal })).catch((error: unknown) => {
      // The first is the cause; those after it only tell that they were stopped.
      failure ??= error;
      stop.abort();
    }),
  );
  await Promise.all(reads);
  if (failure !== undefined) throw failure;
}

/** What is wanted of each pack, in the order in which it stands there. */
function placeChunks(destinations: readonly Destination[], index: Index): Map<number, Wanted[]> {
  const byPack = new Map<number, Map<number, Wanted>>();
  for (const [file, destination] of destinations.entries()) {
    const ranges = destination.dataRanges?.values();
    let [offset, endOfRange] = [0, ranges ? 0 : Number.POSITIVE_INFINITY];
    for (const number of destination.chunks) {
      const chunk = index.chunks[number];
      if (!chunk) throw corrupt(`chunk ${number} is not in the index`);
      const [, pack, start, , contentBytes] = chunk;
      if (offset === endOfRange) {
        const [begin, sizeBytes] = ranges?.next().value ?? [0, 0];
        [offset, endOfRange] = [begin, begin + sizeBytes];
      }
      if (offset + contentBytes > endOfRange) throw corrupt(`chunk ${number} is not where a file has data`);
      if (pack >= 0) {
        const wanted = byPack.get(pack) ?? new Map<number, Wanted>();
        byPack.set(pack, wanted);
        const entry = wanted.get(start) ?? { chunk, places: [] };
        wanted.set(start, entry);
        entry.places.push({ file, offset });
      }
      offset += contentBytes;
    }
  }
  return new Map(
    [...byPack].map(([pack, wanted]) => [pack, [...wanted.values()].sort((a, b) => a.chunk[2] - b.chunk[2])]),
  );
}

async function readPack(
  number: number,
  wanted: readonly Wanted[],
  index: Index,
  files: OpenFiles,
  from: Parameters<typeof readChunksInto>[2],
): Promise<void> {
  if (from.signal.aborted) throw new FreezerError('cancelled', 'The thaw was cancelled.', 'Nothing to do.');
  const pack = index.packs[number];
  if (!pack) throw corrupt(`pack ${number} is not in the index`);
  const bytes = await from.store.get(from.prefix + pack.key, { signal: from.signal }).catch((error: unknown) => {
    throw readFailed(error);
  });
  for (let at = 0; at < wanted.length; at += BATCH_CHUNKS) {
    await readBatch(bytes, wanted.slice(at, at + BATCH_CHUNKS), pack.key, files, from);
  }
}

async function readBatch(
  pack: Buffer,
  batch: readonly Wanted[],
  packKey: string,
  files: OpenFiles,
  from: Parameters<typeof readChunksInto>[2],
): Promise<void> {
  const pieces = batch.map(({ chunk: [, , start, storedBytes] }) => pack.subarray(start, start + storedBytes));
  const chunks = batch.map(({ chunk: [sha256, , , storedBytes, contentBytes] }) => ({
    sha256,
    storedBytes,
    contentBytes,
  }));
  const short = pieces.findIndex((piece, at) => piece.length !== chunks[at]?.storedBytes);
  if (short >= 0) throw corrupt(`pack ${packKey} is shorter than the index says`);
  const { bytes, damaged } = await from.compressors.unpack(new Uint8Array(Buffer.concat(pieces)), chunks);
  if (damaged !== null)
    throw corrupt(`chunk ${chunks[damaged]?.sha256.slice(0, 12)} in pack ${packKey} does not have its content`);
  let at = 0;
  for (const { chunk, places } of batch) {
    const content = bytes.subarray(at, at + chunk[4]);
    at += chunk[4];
    for (const { file, offset } of places) await files.write(file, content, offset);
    from.onRead(content.length * places.length);
  }
}

function corrupt(what: string): FreezerError {
  return new FreezerError(
    'corrupt',
    `The checkpoint is corrupt: ${what}.`,
    'Floe falls back to the checkpoint before it.',
  );
}

/** A file with more chunks than this stays open until the end; a smaller one is opened for each of its few writes. */
const SMALL_FILE_CHUNKS = 16;

class OpenFiles implements AsyncDisposable {
  readonly #destinations: readonly Destination[];
  readonly #open = new Map<number, Promise<FileHandle>>();

  constructor(destinations: readonly Destination[]) {
    this.#destinations = destinations;
  }

  async write(file: number, bytes: Uint8Array, offset: number): Promise<void> {
    const destination = this.#destinations[file];
    if (!destination) throw corrupt('a chunk has no place');
    const parts = destination.dataRanges ? [...partsWithData(bytes)] : [{ at: 0, bytes }];
    if (destination.chunks.length > SMALL_FILE_CHUNKS) {
      const opened = this.#open.get(file) ?? open(destination.path, 'r+');
      this.#open.set(file, opened);
      for (const part of parts) await writeWhole(await opened, part.bytes, offset + part.at);
    } else {
      await using handle = await open(destination.path, 'r+');
      for (const part of parts) await writeWhole(handle, part.bytes, offset + part.at);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#open.values()].map(async (opened) => (await opened).close()));
  }
}

/** A single write may be cut short, by a disk that fills up for one. */
async function writeWhole(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, offset + at);
    at += bytesWritten;
  }
}
