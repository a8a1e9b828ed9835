/**
 * A folder as one object: a tar archive, compressed with zstd. For workspaces and outputs. A process of its own opens the files
 * (archive/): what others have made can end that one alone, and reach nothing beside the folder.
 */
import { createHash } from 'node:crypto';
import { mkdir, opendir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { addAbortSignal, Readable } from 'node:stream';
import { constants, zstdCompressSync } from 'node:zlib';
import { Archiver, type ArchiverOptions } from './archive/archiver.ts';
import { dataRangesAddon } from './archive/confinedCommand.ts';
import type { Exceptions, Limits } from './archive/order.ts';
import { normalizePattern } from './archive/patterns.ts';
import { type Cancellable, type Store, StoreError } from './store.ts';

export type { Exceptions } from './archive/order.ts';

interface FolderOptions extends Cancellable {
  /** Where the toolbox is; without one the process that opens the files is not confined, and holes of sparse files are read as zeros. */
  readonly toolboxDirectory?: string | undefined;
  /** Default: 1 TiB, a million files, folders and links, a thousand folders deep. */
  readonly limits?: Partial<Limits> | undefined;
  /** Gives up when nothing moves for so long, the store's own doings aside. Default 10 minutes. */
  readonly stallTimeoutMs?: number | undefined;
}

export interface PutFolderOptions extends FolderOptions {
  /** What to take: paths or globs, relative to the folder; a folder stands for all in it. No one leads through a link. Default: everything. */
  readonly include?: readonly string[];
  /** Called now and then with the bytes read so far, uncompressed. */
  readonly onProgress?: (bytes: number) => void;
}

export interface PutFolderResult {
  /** Of the object, so compressed. */
  readonly sizeBytes: number;
  /** Of the object, in hexadecimal digits. */
  readonly sha256: string;
  /** How many files and links, without folders. */
  readonly files: number;
  /** The entries of `include` that nothing matched. */
  readonly unmatched: readonly string[];
  /** Files that are not in the object, or not as they were: pipes, sockets and devices, and what changed meanwhile. */
  readonly exceptions: Exceptions;
}

export interface GetFolderOptions extends FolderOptions {
  /** What `putFolder` said of the object. */
  readonly expected?: { readonly sizeBytes: number; readonly sha256: string } | undefined;
}

const DEFAULT_LIMITS: Limits = { bytes: 1024 ** 4, entries: 1_000_000, depth: 1000 };
const STALL_TIMEOUT_MS = 600_000;
/** Two blocks of zeros are all there is to an archive of nothing. */
const EMPTY = zstdCompressSync(Buffer.alloc(1024), { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
const NO_EXCEPTIONS: Exceptions = { count: 0, examples: [] };

/**
 * Stores a folder under `key`, replacing what was there. Files, folders, symbolic and hard links are kept, with their names to the byte,
 * their times, their modes without setuid, setgid and sticky bits, and the holes of sparse files; owners and extended attributes are not.
 *
 * @throws StoreError `invalid` when `include` leaves the folder or a path in it is too long, `notFound` when there is no such folder,
 * `tooLarge` when it has more than `limits`, `unreadable` when its files cannot be read, and what `putStream` throws
 */
export async function putFolder(
  store: Store,
  key: string,
  directory: string,
  options: PutFolderOptions = {},
): Promise<PutFolderResult> {
  const { signal, toolboxDirectory, limits } = options;
  signal?.throwIfAborted();
  const include = options.include?.map(soundPattern) ?? null;
  if (await isEmpty(directory)) return putNothing(store, key, options);
  await using archiver = new Archiver(
    {
      ...{ task: 'pack', directory: resolve(directory), include, limits: { ...DEFAULT_LIMITS, ...limits } },
      dataRanges: dataRangesAddon(toolboxDirectory),
    },
    archiverOptions(options),
  );
  const hash = createHash('sha256');
  const body = Readable.from(hashed(archiver.output(), hash), { objectMode: false });
  // Whoever reads it hears of it; a store that fails before it reads does not, and need not.
  body.on('error', () => undefined);
  archiver.onFailure((error) => body.destroy(error));
  if (signal) addAbortSignal(signal, body);
  const { sizeBytes } = await store.putStream(key, body, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw error;
  });
  const { files, unmatched, exceptions } = await archiver.summary();
  return {
    ...{ sizeBytes, sha256: hash.digest('hex'), files, exceptions },
    unmatched: unmatched.map((number) => options.include?.[number] ?? ''),
  };
}

/**
 * Unpacks what `putFolder` stored into `directory`, which is made when it is not there; files of the same name are
 * replaced, others stay. All of it belongs to this user. No link in the folder is followed. After an error some of it may be there.
 *
 * @throws StoreError `damaged` for an archive that is broken or holds a path outside the folder, `substituted` when the object is not the
 * expected one, `tooLarge` when it holds more than `limits`, `full` and `denied` of the folder, and what `getStream` throws
 */
export async function getFolder(
  store: Store,
  key: string,
  directory: string,
  options: GetFolderOptions = {},
): Promise<void> {
  const { signal, expected, limits } = options;
  const stored = await store.getStream(key, signal ? { signal } : {});
  try {
    await mkdir(directory, { recursive: true });
    await using archiver = new Archiver(
      { task: 'unpack', directory: resolve(directory), limits: { ...DEFAULT_LIMITS, ...limits } },
      archiverOptions(options),
    );
    const hash = createHash('sha256');
    let sizeBytes = 0;
    let failure: unknown;
    for await (const chunk of stored as AsyncIterable<Buffer>) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      if (expected && sizeBytes > expected.sizeBytes) throw substituted(key);
      if (failure === undefined) failure = await failureOf(archiver.write(chunk));
      // Of an object that is expected, the rest tells whether it is broken or another's.
      if (failure !== undefined && !expected) throw failure;
    }
    if (expected && hash.digest('hex') !== expected.sha256) throw substituted(key);
    if (failure !== undefined) throw failure;
    archiver.end();
    await archiver.summary();
  } catch (error) {
    signal?.throwIfAborted();
    throw explain(error, key, directory);
  } finally {
    stored.destroy();
  }
}

function archiverOptions(options: FolderOptions & Pick<PutFolderOptions, 'onProgress'>): ArchiverOptions {
  return {
    toolboxDirectory: options.toolboxDirectory ?? null,
    stallTimeoutMs: options.stallTimeoutMs ?? STALL_TIMEOUT_MS,
    signal: options.signal,
    onProgress: options.onProgress,
  };
}

function soundPattern(pattern: string): string {
  const path = normalizePattern(pattern);
  if (path !== null) return path;
  throw new StoreError('invalid', `"${pattern}" leaves the folder.`, 'Name paths inside the folder, relative to it.');
}

/** Most jobs have no workspace, and need no process to pack it. */
async function isEmpty(directory: string): Promise<boolean> {
  try {
    await using folder = await opendir(directory, { bufferSize: 1 });
    return (await folder.read()) === null;
  } catch (cause) {
    throw new StoreError('notFound', `The folder ${directory} cannot be read.`, 'Check its path and permissions.', {
      cause,
    });
  }
}

async function putNothing(
  store: Store,
  key: string,
  { signal, include = [] }: PutFolderOptions,
): Promise<PutFolderResult> {
  const { sizeBytes } = await store.putStream(
    key,
    Readable.from([EMPTY], { objectMode: false }),
    signal ? { signal } : {},
  );
  const sha256 = createHash('sha256').update(EMPTY).digest('hex');
  const unmatched = include.filter((pattern) => normalizePattern(pattern) !== '.');
  return { sizeBytes, sha256, files: 0, unmatched, exceptions: NO_EXCEPTIONS };
}

async function* hashed(chunks: AsyncIterable<Buffer>, hash: ReturnType<typeof createHash>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

function failureOf(work: Promise<void>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

function substituted(key: string): StoreError {
  const what = `${key} is not what was stored: somebody has put another object in its place.`;
  return new StoreError('substituted', what, 'See who may write to the store, and submit the job anew.');
}

function explain(error: unknown, key: string, directory: string): unknown {
  if (!(error instanceof StoreError)) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) return error;
    return new StoreError('denied', `No access to ${directory}: ${message}`, 'Give this user write access.', {
      cause: error,
    });
  }
  if (!['damaged', 'tooLarge'].includes(error.code)) return error;
  return new StoreError(error.code, `${key}: ${error.message}`, error.remedy, { cause: error });
}
