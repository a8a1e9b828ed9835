/**
 * A store in a folder (`file:///path`), for one machine or a shared file system that has atomic `link` and `rename`.
 *
 * A write goes to a temporary file, is synced, and gets its name in one step: `link` where it must be the first,
 * `rename` where it may replace. A writer that is killed leaves at most a temporary file. Those are in a folder that no key
 * can name, so `list` and `get` never see them; opening the store sweeps out the old ones.
 */
import { randomUUID } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import {
  checkByRoundTrip,
  checkKey,
  checkPrefix,
  checkRange,
  noSuchObject,
  objectExists,
  objectTooShort,
} from './rules.ts';
import { type ByteRange, type Cancellable, type Store, type StoredObject, StoreError } from './store.ts';
import { guardStream } from './stream.ts';

/** `~` is in no key. */
const temporaryFolder = '~writing';
/** A file that is still being written is younger than this. */
const sweepAfterMs = 24 * 3600 * 1000;

/** @param folder absolute; made at the first write when it is not there */
export async function openDirectoryStore(folder: string): Promise<Store> {
  const store = new DirectoryStore(folder);
  await store.sweep();
  return store;
}

class DirectoryStore implements Store {
  readonly url: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.url = pathToFileURL(folder).href;
  }

  async create(key: string, body: Uint8Array | readonly Uint8Array[], { signal }: Cancellable = {}): Promise<void> {
    checkKey(key);
    const parts = body instanceof Uint8Array ? [body] : body;
    const write = async (file: FileHandle) => {
      for (const part of parts) await file.writeFile(part, { signal });
    };
    await this.#translate(key, signal, () => this.#writeThenName(key, write, link));
  }

  async putStream(key: string, body: Readable, { signal }: Cancellable = {}): Promise<{ sizeBytes: number }> {
    checkKey(key);
    const write = (file: FileHandle) => pipeline(body, (chunks) => writeAll(file, chunks), signal ? { signal } : {});
    const sizeBytes = await this.#translate(key, signal, () => this.#writeThenName(key, write, rename));
    return { sizeBytes };
  }

  async get(key: string, { range, signal }: Cancellable & { range?: ByteRange } = {}): Promise<Buffer> {
    checkKey(key);
    if (range) checkRange(range);
    return this.#translate(key, signal, async () => {
      await using file = await this.#openObject(key);
      const { size } = await file.stat();
      const { offsetBytes, lengthBytes } = range ?? { offsetBytes: 0, lengthBytes: size };
      const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(lengthBytes, size - offsetBytes)));
      let filled = 0;
      while (filled < bytes.length) {
        signal?.throwIfAborted();
        const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, offsetBytes + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      const wantedBytes = offsetBytes + lengthBytes;
      if (filled < lengthBytes || wantedBytes > size) throw objectTooShort(key, size, wantedBytes);
      return bytes;
    });
  }

  async getStream(key: string, { signal }: Cancellable = {}): Promise<Readable> {
    checkKey(key);
    const file = await this.#translate(key, signal, () => this.#openObject(key));
    const source = file.createReadStream({ highWaterMark: 2 ** 20 });
    return guardStream(source, (error) => this.#explain(key, error, signal), { signal });
  }

  async *list(prefix: string, { signal }: Cancellable = {}): AsyncIterable<StoredObject> {
    checkPrefix(prefix);
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    yield* this.#walk(folder, prefix, signal);
  }

  async delete(keys: readonly string[], { signal }: Cancellable = {}): Promise<void> {
    for (const key of keys) checkKey(key);
    for (const key of keys) {
      await this.#translate(key, signal, async () => {
        await rm(this.#path(key), { force: true }).catch(unless('ENOTDIR'));
        await this.#removeEmptyFolders(dirname(this.#path(key)));
      });
    }
  }

  check(options: Cancellable = {}): Promise<void> {
    return checkByRoundTrip(this, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Deletes what killed writers left. */
  async sweep(): Promise<void> {
    await this.#translate('', undefined, async () => {
      const folder = join(this.#folder, temporaryFolder);
      for (const name of (await readdir(folder).catch(unless('ENOENT'))) ?? []) {
        const file = await stat(join(folder, name)).catch(unless('ENOENT'));
        if (file && Date.now() - file.mtimeMs > sweepAfterMs) await rm(join(folder, name), { force: true });
      }
    });
  }

  /** Resolves to the size written. Whatever fails, the temporary file goes and `key` is as it was. */
  async #writeThenName(
    key: string,
    write: (file: FileHandle) => Promise<void>,
    giveName: (from: string, to: string) => Promise<void>,
  ): Promise<number> {
    await mkdir(join(this.#folder, temporaryFolder), { recursive: true, mode: FOLDER_MODE });
    const temporary = join(this.#folder, temporaryFolder, randomUUID());
    try {
      const sizeBytes = await writeDurably(temporary, write);
      await this.#name(temporary, this.#path(key), giveName);
      return sizeBytes;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** A `delete` next door may take the folder away as empty before the name is in it; then it is made again. */
  async #name(temporary: string, path: string, giveName: (from: string, to: string) => Promise<void>): Promise<void> {
    for (;;) {
      const firstMade = await makeFolder(dirname(path));
      try {
        await giveName(temporary, path);
      } catch (error) {
        if (codeOf(error) === 'ENOENT') continue;
        throw error;
      }
      await syncFolders(dirname(path), firstMade ? dirname(firstMade) : dirname(path));
      return;
    }
  }

  async *#walk(folder: string, prefix: string, signal?: AbortSignal): AsyncIterable<StoredObject> {
    const entries = await this.#translate(folder, signal, () => this.#entries(folder));
    for (const entry of entries) {
      signal?.throwIfAborted();
      const key = `${folder}${entry.name}`;
      if (entry.isDirectory()) {
        if (`${key}/`.startsWith(prefix) || prefix.startsWith(`${key}/`)) yield* this.#walk(`${key}/`, prefix, signal);
      } else if (key.startsWith(prefix)) {
        const file = await this.#translate(key, signal, () => stat(this.#path(key)).catch(unless('ENOENT')));
        if (file) yield { key, sizeBytes: file.size, modifiedAt: file.mtime };
      }
    }
  }

  /** In the order of the keys below them: a folder `a` sorts as `a/`, after `a-b` and before `a0`. */
  async #entries(folder: string): Promise<Dirent[]> {
    const entries = await readdir(join(this.#folder, folder), { withFileTypes: true }).catch(
      unless('ENOENT', 'ENOTDIR'),
    );
    const sortKey = (entry: Dirent) => (entry.isDirectory() ? `${entry.name}/` : entry.name);
    return (entries ?? [])
      .filter(({ name }) => name !== temporaryFolder)
      .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  }

  async #openObject(key: string): Promise<FileHandle> {
    const file = await open(this.#path(key), 'r').catch(unless('ENOTDIR'));
    if ((await file?.stat())?.isFile()) return file as FileHandle;
    await file?.close();
    throw noSuchObject(key, this.url);
  }

  async #removeEmptyFolders(from: string): Promise<void> {
    for (let folder = from; folder !== this.#folder; folder = dirname(folder)) {
      try {
        await rmdir(folder);
      } catch (error) {
        if (['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')) return;
        throw error;
      }
    }
  }

  #path(key: string): string {
    return join(this.#folder, key);
  }

  async #translate<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw this.#explain(key, error, signal);
    }
  }

  #explain(key: string, cause: unknown, signal?: AbortSignal): unknown {
    if (signal?.aborted) return signal.reason;
    if (cause instanceof StoreError) return cause;
    const where = `${key} in ${this.url}`;
    const reason = cause instanceof Error ? cause.message : String(cause);
    switch (codeOf(cause)) {
      case 'ENOENT':
        return noSuchObject(key, this.url, cause);
      case 'EEXIST':
        return objectExists(key, this.url, cause);
      case 'ENOTDIR':
      case 'EISDIR':
        return new StoreError('invalid', `${where} is below an object, or a folder.`, 'Use another key.', { cause });
      case 'ENAMETOOLONG':
        return new StoreError('invalid', `The path of ${where} is too long.`, 'Use a shorter store path.', { cause });
      case 'ENOSPC':
      case 'EDQUOT':
        return new StoreError('full', `No space for ${where}: ${reason}`, 'Free space there or raise the quota.', {
          cause,
        });
      case 'EACCES':
      case 'EPERM':
      case 'EROFS':
        return new StoreError('denied', `No access to ${where}: ${reason}`, 'Give this user read and write access.', {
          cause,
        });
      default:
        return new StoreError('failed', `${where}: ${reason}`, 'Look at the cause; check the file system.', { cause });
    }
  }
}

/** Checkpoints hold all that a program had in memory: they are the owner's, and for reading those of the folder's group. */
const FOLDER_MODE = 0o750;
const FILE_MODE = 0o640;

async function writeDurably(path: string, write: (file: FileHandle) => Promise<void>): Promise<number> {
  await using file = await open(path, 'wx', FILE_MODE);
  await write(file);
  await file.sync();
  return (await file.stat()).size;
}

async function writeAll(file: FileHandle, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) await file.writeFile(chunk);
}

/** Resolves to the first folder that had to be made. `EEXIST` here says that an object is in the way, not the one to write. */
async function makeFolder(path: string): Promise<string | undefined> {
  try {
    return await mkdir(path, { recursive: true, mode: FOLDER_MODE });
  } catch (error) {
    throw codeOf(error) === 'EEXIST' ? Object.assign(error as Error, { code: 'ENOTDIR' }) : error;
  }
}

/** A name is durable once its folder is synced, and a new folder once the one above it is. */
async function syncFolders(from: string, to: string): Promise<void> {
  for (let folder = from; !relative(to, folder).startsWith('..'); folder = dirname(folder)) {
    await using handle = await open(folder, 'r');
    await handle.sync();
    if (folder === to) return;
  }
}

/** For `.catch`: undefined for these error codes, the error itself for any other. */
function unless(...codes: readonly string[]): (error: unknown) => undefined {
  return (error) => {
    if (!codes.includes(codeOf(error) ?? '')) throw error;
    return undefined;
  };
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}
