/** A folder as the blocks of a tar archive. With calls that block: this has a process of its own (main.ts). */
import { type BigIntStats, closeSync, fstatSync, readlinkSync, readSync } from 'node:fs';
import {
  type Bytes,
  Descent,
  isGone,
  look,
  openFolder,
  openToRead,
  PATH_BYTES,
  readNames,
  textOf,
  within,
} from './beneath.ts';
import { ExceptionList } from './exceptions.ts';
import { ArchiveFailure, codeOf } from './failure.ts';
import type { ExceptionReason, Limits, Summary } from './order.ts';
import { type NextRange, rangesOf } from './ranges.ts';
import { tooDeep, tooMany } from './select.ts';
import { ARCHIVE_END, encodeHeader, encodeMap, padding, type Range } from './tarFormat.ts';

/** What goes to the compressor at a time. */
const PIECE_BYTES = 256 * 1024;

export interface PackOptions {
  readonly limits: Limits;
  /** Null where nobody knows the holes of sparse files: these are then read whole. */
  readonly nextRange: NextRange | null;
  /** Called often; tells that the work goes on. */
  readonly onStep: () => void;
}

export class Packer {
  readonly #root: number;
  readonly #limits: Limits;
  readonly #nextRange: NextRange | null;
  readonly #onStep: () => void;
  readonly #exceptions = new ExceptionList();
  /** First paths of files that have several, by device and inode. */
  readonly #firstPaths = new Map<string, Bytes>();
  #piece = Buffer.allocUnsafe(PIECE_BYTES);
  #usedBytes = 0;
  #entries = 0;
  #files = 0;
  #contentBytes = 0;

  constructor(root: number, { limits, nextRange, onStep }: PackOptions) {
    this.#root = root;
    this.#limits = limits;
    this.#nextRange = nextRange;
    this.#onStep = onStep;
  }

  summary(unmatched: readonly number[]): Summary {
    return { files: this.#files, unmatched, exceptions: this.#exceptions.summary() };
  }

  /** The archive of these paths, with everything below them. An empty path is the folder itself. Throws `ArchiveFailure`. */
  *pack(paths: readonly Bytes[]): Generator<Buffer> {
    using descent = new Descent(this.#root);
    for (const path of paths) {
      if (path === '') {
        yield* this.#children(this.#root, '', 0);
        continue;
      }
      const names = path.split('/');
      let parent: number;
      try {
        parent = descent.to(names.slice(0, -1));
      } catch (error) {
        if (!isGone(error)) throw error;
        this.#exceptions.add(path, 'vanished');
        continue;
      }
      yield* this.#entry(parent, names.at(-1) as Bytes, path, names.length - 1);
    }
    yield* this.#put(ARCHIVE_END);
    yield this.#piece.subarray(0, this.#usedBytes);
  }

  *#children(folder: number, path: Bytes, depth: number): Generator<Buffer> {
    const names: Bytes[] = [];
    readNames(folder, ({ name }) => {
      if (names.push(name) + this.#entries > this.#limits.entries) throw tooMany(this.#limits);
      this.#onStep();
    });
    names.sort();
    for (const name of names) yield* this.#entry(folder, name, path + name, depth);
  }

  *#entry(parent: number, name: Bytes, path: Bytes, depth: number): Generator<Buffer> {
    this.#onStep();
    if (depth > this.#limits.depth || path.length > PATH_BYTES) throw tooDeep(this.#limits);
    if (++this.#entries > this.#limits.entries) throw tooMany(this.#limits);
    try {
      const stats = look(parent, name);
      if (stats === undefined) this.#exceptions.add(path, 'vanished');
      else if (stats.isDirectory()) yield* this.#folder(parent, name, path, depth);
      else if (stats.isFile()) yield* this.#file(parent, name, path, stats);
      else if (stats.isSymbolicLink()) yield* this.#symlink(parent, name, path, stats);
      else this.#exceptions.add(path, kindOf(stats));
    } catch (error) {
      throw explain(error, path);
    }
  }

  *#folder(parent: number, name: Bytes, path: Bytes, depth: number): Generator<Buffer> {
    const folder = this.#open(() => openFolder(parent, name), path);
    if (folder === null) return;
    try {
      yield* this.#header(path, 'folder', fstatSync(folder, { bigint: true }));
      yield* this.#children(folder, `${path}/`, depth + 1);
    } finally {
      closeSync(folder);
    }
  }

  *#symlink(parent: number, name: Bytes, path: Bytes, stats: BigIntStats): Generator<Buffer> {
    let target: Bytes;
    try {
      target = readlinkSync(within(parent, name), { encoding: 'latin1' });
    } catch (error) {
      if (!isGone(error) && codeOf(error) !== 'EINVAL') throw error;
      this.#exceptions.add(path, 'vanished');
      return;
    }
    this.#files += 1;
    yield* this.#put(encodeHeader({ ...attributesOf(path, stats), type: 'symlink', sizeBytes: 0, target }));
  }

  *#file(parent: number, name: Bytes, path: Bytes, seen: BigIntStats): Generator<Buffer> {
    if (seen.size === 0n && seen.nlink === 1n) {
      this.#files += 1;
      yield* this.#header(path, 'file', seen);
      return;
    }
    const file = this.#open(() => openToRead(parent, name), path);
    if (file === null) return;
    try {
      const stats = fstatSync(file, { bigint: true });
      if (!stats.isFile()) {
        this.#exceptions.add(path, 'vanished');
        return;
      }
      this.#files += 1;
      const identity = `${stats.dev}:${stats.ino}`;
      const target = stats.nlink > 1n ? this.#firstPaths.get(identity) : undefined;
      if (target !== undefined) {
        yield* this.#put(encodeHeader({ ...attributesOf(path, stats), type: 'link', sizeBytes: 0, target }));
        return;
      }
      if (stats.nlink > 1n) this.#firstPaths.set(identity, path);
      yield* this.#content(file, path, stats);
    } finally {
      closeSync(file);
    }
  }

  *#content(file: number, path: Bytes, stats: BigIntStats): Generator<Buffer> {
    const realBytes = Number(stats.size);
    const ranges = this.#nextRange && rangesOf(file, stats, this.#nextRange, this.#onStep);
    const contentBytes = ranges === null ? realBytes : ranges.reduce((sum, [start, end]) => sum + end - start, 0);
    this.#contentBytes += contentBytes;
    if (this.#contentBytes > this.#limits.bytes || !Number.isSafeInteger(realBytes)) throw this.#tooManyBytes(path);
    const attributes = { ...attributesOf(path, stats), type: 'file' as const };
    let isWhole = true;
    if (ranges === null) {
      yield* this.#put(encodeHeader({ ...attributes, sizeBytes: realBytes }));
      isWhole = yield* this.#read(file, [0, realBytes]);
    } else {
      const map = encodeMap(ranges, realBytes);
      yield* this.#put(encodeHeader({ ...attributes, sizeBytes: map.length + contentBytes, realBytes }));
      yield* this.#put(map);
      for (const range of ranges) isWhole = (yield* this.#read(file, range)) && isWhole;
    }
    yield* this.#put(padding(contentBytes));
    if (!isWhole || fstatSync(file, { bigint: true }).size !== stats.size) this.#exceptions.add(path, 'changed');
  }

  /** A range of a file, filled up with zeros where the file has become shorter; false then. */
  *#read(file: number, [start, end]: Range): Generator<Buffer, boolean> {
    let isWhole = true;
    for (let at = start; at < end; ) {
      if (this.#usedBytes === PIECE_BYTES) yield this.#nextPiece();
      const length = Math.min(PIECE_BYTES - this.#usedBytes, end - at);
      let count = isWhole ? readSync(file, this.#piece, this.#usedBytes, length, at) : 0;
      if (count === 0) {
        isWhole = false;
        this.#piece.fill(0, this.#usedBytes, this.#usedBytes + length);
        count = length;
      }
      this.#usedBytes += count;
      at += count;
      this.#onStep();
    }
    return isWhole;
  }

  #header(path: Bytes, type: 'file' | 'folder', stats: BigIntStats): Generator<Buffer> {
    return this.#put(encodeHeader({ ...attributesOf(path, stats), type, sizeBytes: 0 }));
  }

  *#put(bytes: Buffer): Generator<Buffer> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#usedBytes === PIECE_BYTES) yield this.#nextPiece();
      const count = bytes.copy(this.#piece, this.#usedBytes, at);
      this.#usedBytes += count;
      at += count;
    }
  }

  #nextPiece(): Buffer {
    const full = this.#piece;
    this.#piece = Buffer.allocUnsafe(PIECE_BYTES);
    this.#usedBytes = 0;
    return full;
  }

  /** Null when there is no such thing any more. */
  #open(open: () => number, path: Bytes): number | null {
    try {
      return open();
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#exceptions.add(path, 'vanished');
      return null;
    }
  }

  #tooManyBytes(path: Bytes): ArchiveFailure {
    const hint = this.#nextRange === null ? ' Holes of sparse files count, too: this machine cannot tell them.' : '';
    const what = `With ${textOf(path)} there are more than ${this.#limits.bytes} bytes.${hint}`;
    return new ArchiveFailure('tooLarge', what, 'Leave some files out, or make them smaller.');
  }
}

function attributesOf(path: Bytes, stats: BigIntStats) {
  return { path, mode: Number(stats.mode & 0o777n), modifiedAtNs: stats.mtimeNs };
}

function kindOf(stats: BigIntStats): ExceptionReason {
  if (stats.isFIFO()) return 'pipe';
  if (stats.isSocket()) return 'socket';
  return stats.isCharacterDevice() || stats.isBlockDevice() ? 'device' : 'unknown';
}

/** What the file system says of one file. Too many open files are too deep a nesting: there is one for each folder on the way. */
function explain(error: unknown, path: Bytes): unknown {
  const code = codeOf(error);
  if (error instanceof ArchiveFailure || code === undefined) return error;
  const what = `${textOf(path)} cannot be read (${code}).`;
  return new ArchiveFailure('unreadable', what, 'See that this user may read it, or leave it out.');
}
