/** A folder as one object: a tar archive, compressed with zstd. For workspaces and outputs. */
import { once } from 'node:events';
import type { Stats } from 'node:fs';
import { chmod, glob, lstat, mkdir, readdir, realpath, rm, symlink } from 'node:fs/promises';
import { dirname, isAbsolute, join, posix, relative, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import * as tar from 'tar';
import { type Cancellable, type Store, StoreError } from './store.ts';

export interface PutFolderOptions extends Cancellable {
  /** What to take: paths or globs, relative to the folder; a folder stands for all in it. Default: everything. */
  readonly include?: readonly string[];
  /** Called now and then with the bytes read so far, uncompressed. */
  readonly onProgress?: (bytes: number) => void;
}

export interface PutFolderResult {
  /** Of the object, so compressed. */
  readonly sizeBytes: number;
  /** How many files and links, without folders. */
  readonly files: number;
  /** The entries of `include` that nothing matched. */
  readonly unmatched: readonly string[];
}

/**
 * Stores a folder under `key`, replacing what was there. Modes, owners, symbolic and hard links and files' times are kept; sockets and
 * devices are left out. A file that changes meanwhile may be stored half old, half new.
 *
 * @throws StoreError `invalid` when `include` leaves the folder or a path in it is too long to be read, `notFound` when there is no such
 * folder, and what `putStream` throws
 */
export async function putFolder(
  store: Store,
  key: string,
  directory: string,
  { include, signal, onProgress }: PutFolderOptions = {},
): Promise<PutFolderResult> {
  const { paths, unmatched } = await selectPaths(directory, include);
  let files = 0;
  const onWriteEntry = (entry: tar.WriteEntry) => {
    if (entry.type !== 'Directory') files += 1;
  };
  const archive = new tar.Pack({ cwd: directory, strict: true, onWriteEntry });
  for (const path of paths) archive.add(path);
  archive.end();
  async function* counted(): AsyncGenerator<Buffer> {
    let bytes = 0;
    for await (const chunk of archive) {
      bytes += chunk.length;
      onProgress?.(bytes);
      yield chunk;
    }
  }
  const compressed = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  const cancel = signal ? { signal } : {};
  const reading = pipeline(Readable.from(counted(), { objectMode: false }), compressed, cancel);
  const [read, written] = await Promise.allSettled([reading, store.putStream(key, compressed, cancel)]);
  // Whichever fails takes the other along; a folder that could not be read is the cause of an upload cut short.
  if (read.status === 'rejected' && !isCutShort(read.reason)) throw unreadable(directory, read.reason, signal);
  if (written.status === 'rejected') throw written.reason;
  return { sizeBytes: written.value.sizeBytes, files, unmatched };
}

/** The two blocks of zeros that are all there is to an archive of nothing; the parser takes that for no archive. */
const emptyArchive = Buffer.alloc(1024);

/**
 * Unpacks what `putFolder` stored into `directory`, which is made when it is not there; files of the same name are
 * replaced, others stay. After an error some of it may be there.
 *
 * @throws StoreError `damaged` for an archive that is broken or holds a path outside the folder, and what `getStream` throws
 */
export async function getFolder(
  store: Store,
  key: string,
  directory: string,
  { signal }: Cancellable = {},
): Promise<void> {
  const cancel = signal ? { signal } : {};
  const stored = await store.getStream(key, cancel);
  await mkdir(directory, { recursive: true });
  const umask = process.umask();
  const modes: { readonly path: string; readonly mode: number }[] = [];
  const links: Link[] = [];
  const filter = (path: string, entry: tar.ReadEntry | Stats) => {
    const link = linkOutOf(path, entry as tar.ReadEntry);
    if (link) links.push(link);
    const { type, mode = 0 } = entry as tar.ReadEntry;
    // tar creates files under this process's umask.
    if (type === 'File' && mode & umask) modes.push({ path, mode });
    return !link;
  };
  const archive = tar.extract({ cwd: directory, strict: true, chmod: true, filter });
  const failed = new Promise<never>((_, reject) => archive.once('error', reject));
  const unpack = async (chunks: AsyncIterable<Buffer>) => {
    let isEmpty = true;
    for await (const chunk of chunks) {
      isEmpty &&= chunk.equals(emptyArchive);
      if (!isEmpty && !archive.write(chunk)) await once(archive, 'drain');
    }
    if (isEmpty) return;
    const closed = once(archive, 'close');
    archive.end();
    await closed;
  };
  try {
    await Promise.race([pipeline(stored, createZstdDecompress(), unpack, cancel), failed]);
    for (const { path, mode } of modes) await chmod(join(directory, path), mode);
    for (const link of links) await makeLink(directory, link);
  } catch (cause) {
    stored.destroy();
    if (signal?.aborted) throw signal.reason;
    if (cause instanceof StoreError) throw cause;
    throw unpackingError(key, directory, cause);
  }
}

/** A symbolic link that points out of the folder, as those of virtual environments do. */
interface Link {
  readonly path: string;
  readonly target: string;
}

function linkOutOf(path: string, entry: tar.ReadEntry): Link | undefined {
  if (entry.type !== 'SymbolicLink' || entry.linkpath === undefined) return undefined;
  const target = entry.linkpath;
  return isAbsolute(target) || leaves(posix.join(posix.dirname(path), target)) ? { path, target } : undefined;
}

/** Made after all files, so that nothing is ever unpacked through such a link. */
async function makeLink(directory: string, { path, target }: Link): Promise<void> {
  const place = resolve(directory, path);
  const folder = await realpath(dirname(place));
  if (leaves(relative(await realpath(directory), folder)) || leaves(path))
    throw new Error(`${path} is outside the folder`);
  await rm(place, { force: true });
  await symlink(target, place);
}

async function selectPaths(
  directory: string,
  include: readonly string[] | undefined,
): Promise<{ paths: string[]; unmatched: string[] }> {
  if (!include) return { paths: await readFolder(directory), unmatched: [] };
  const found = new Set<string>();
  const unmatched: string[] = [];
  for (const pattern of include) {
    const matches = await expand(directory, pattern);
    if (matches.length === 0) unmatched.push(pattern);
    for (const match of matches) found.add(match);
  }
  const isWithinAnother = (path: string) => {
    const parents = path.split('/').map((_, count, names) => names.slice(0, count).join('/'));
    return parents.some((parent) => found.has(parent));
  };
  return { paths: [...found].filter((path) => !isWithinAnother(path)).sort(), unmatched };
}

/** A name that is there counts as itself, whatever characters it has. */
async function expand(directory: string, pattern: string): Promise<string[]> {
  const path = posix.normalize(pattern).replace(/(?<=.)\/$/, '');
  if (leaves(path)) {
    throw new StoreError('invalid', `"${pattern}" leaves the folder.`, 'Name paths inside the folder, relative to it.');
  }
  if (path === '.') return readFolder(directory);
  if (await lstat(join(directory, path)).catch(() => undefined)) return [path];
  const matches = await Array.fromAsync(glob(path, { cwd: directory }));
  return matches.filter((match) => match !== '.' && !leaves(match));
}

async function readFolder(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    throw new StoreError('notFound', `The folder ${directory} cannot be read.`, 'Check its path and permissions.', {
      cause,
    });
  }
}

function leaves(path: string): boolean {
  return isAbsolute(path) || posix.normalize(path).split('/')[0] === '..';
}

function isCutShort(error: unknown): boolean {
  return ['ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR'].includes(codeOf(error) ?? '');
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function unreadable(directory: string, cause: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason;
  if (cause instanceof StoreError) return cause;
  if (codeOf(cause) === 'ENAMETOOLONG') {
    const what = `The folder ${directory} has a path that is longer than the kernel takes.`;
    return new StoreError('invalid', what, 'Nest its folders less deeply, or leave these out.', { cause });
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StoreError('failed', `The folder ${directory} cannot be read: ${reason}`, 'Check it and try again.', {
    cause,
  });
}

function unpackingError(key: string, directory: string, cause: unknown): StoreError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = codeOf(cause);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StoreError('full', `No space to unpack ${key} in ${directory}.`, 'Free space there.', { cause });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new StoreError('denied', `No access to ${directory}: ${reason}`, 'Give this user write access.', { cause });
  }
  return new StoreError('damaged', `${key} cannot be unpacked: ${reason}`, 'Store the folder anew.', { cause });
}
