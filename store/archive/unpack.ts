/**
 * A tar archive as files beneath a folder. With calls that block: this has a process of its own (main.ts).
 *
 * Nothing outside of the folder is touched, whatever the archive says and whatever was in the folder: every path is walked by descriptors
 * that follow no link, modes and times are set on the very file, and a hard link can only be another name of a file that this archive
 * made. Modes are kept without setuid, setgid and sticky bits; owners are not kept: all belongs to whoever unpacks.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { type Bytes, Descent, look, openFolder, PATH_BYTES, textOf, within } from './beneath.ts';
import { ExceptionList } from './exceptions.ts';
import { ArchiveFailure, codeOf } from './failure.ts';
import type { Limits, Summary } from './order.ts';
import { tooDeep, tooMany } from './select.ts';
import { damaged } from './tarFormat.ts';
import type { Entry, TarReader } from './tarReader.ts';

const PIECE_BYTES = 1024 * 1024;
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

interface MadeFolder {
  readonly names: readonly Bytes[];
  readonly inode: number;
  readonly mode: number;
  readonly modifiedAtSeconds: number;
}

export interface UnpackOptions {
  readonly limits: Limits;
  /** Called often; tells that the work goes on. */
  readonly onStep: () => void;
}

export class Unpacker implements Disposable {
  readonly #limits: Limits;
  readonly #onStep: () => void;
  readonly #descent: Descent;
  readonly #device: number;
  readonly #exceptions = new ExceptionList();
  /** Inodes of the files that were made, for hard links to them. */
  readonly #made = new Set<number>();
  /** Their modes and times are set last: what is made in them needs the one and touches the other. */
  readonly #folders: MadeFolder[] = [];
  #files = 0;
  #entries = 0;
  #bytes = 0;

  constructor(root: number, { limits, onStep }: UnpackOptions) {
    this.#limits = limits;
    this.#onStep = onStep;
    this.#device = fstatSync(root).dev;
    this.#descent = new Descent(root, (folder, name) => this.#openOrMake(folder, name));
  }

  async unpack(reader: TarReader): Promise<void> {
    for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
      this.#onStep();
      if (++this.#entries > this.#limits.entries) throw tooMany(this.#limits);
      const names = namesOf(entry.path, this.#limits);
      if (names.length === 0) continue; // the folder itself
      try {
        await this.#make(entry, names, reader);
      } catch (error) {
        throw explain(error, entry.path);
      }
    }
    for (const folder of this.#folders.reverse()) this.#finishFolder(folder);
  }

  summary(): Summary {
    return { files: this.#files, unmatched: [], exceptions: this.#exceptions.summary() };
  }

  [Symbol.dispose](): void {
    this.#descent[Symbol.dispose]();
  }

  async #make(entry: Entry, names: readonly Bytes[], reader: TarReader): Promise<void> {
    if (entry.type === 'other') return this.#exceptions.add(entry.path, 'unknown');
    if (entry.type === 'folder') return this.#folder(entry, names);
    if (entry.type === 'link') this.#link(entry, names);
    else if (entry.type === 'symlink') this.#symlink(entry, names);
    else await this.#file(entry, names, reader);
    this.#files += 1;
  }

  #folder(entry: Entry, names: readonly Bytes[]): void {
    const name = names.at(-1) as Bytes;
    const parent = this.#descent.to(names.slice(0, -1));
    const there = look(parent, name);
    if (there && !there.isDirectory()) this.#unlink(within(parent, name), there);
    const { ino: inode } = fstatSync(this.#descent.to(names));
    this.#folders.push({ names, inode, mode: entry.mode & 0o777, modifiedAtSeconds: entry.modifiedAtSeconds });
  }

  async #file(entry: Entry, names: readonly Bytes[], reader: TarReader): Promise<void> {
    const { sizeBytes, ranges } = entry;
    this.#bytes += ranges.reduce((sum, [start, end]) => sum + end - start, 0);
    if (this.#bytes > this.#limits.bytes) {
      const what = `There are more than ${this.#limits.bytes} bytes to unpack.`;
      throw new ArchiveFailure('tooLarge', what, 'Leave some files out, or make them smaller.');
    }
    const file = openSync(this.#place(names), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      this.#remember(file);
      for (const [start, end] of ranges) await this.#content(file, start, end, reader);
      if (ranges.at(-1)?.[1] !== sizeBytes) ftruncateSync(file, sizeBytes);
      fchmodSync(file, entry.mode & 0o777);
      futimesSync(file, entry.modifiedAtSeconds, entry.modifiedAtSeconds);
    } finally {
      closeSync(file);
    }
  }

  async #content(file: number, start: number, end: number, reader: TarReader): Promise<void> {
    for (let at = start; at < end; ) {
      const part = await reader.content(Math.min(PIECE_BYTES, end - at));
      if (part === null) throw damaged('it ends within a file');
      for (let written = 0; written < part.length; ) {
        written += writeSync(file, part, written, part.length - written, at + written);
      }
      at += part.length;
      this.#onStep();
    }
  }

  #symlink({ target, modifiedAtSeconds }: Entry, names: readonly Bytes[]): void {
    if (target === '' || target.includes('\0')) throw damaged('a link leads nowhere');
    const place = this.#place(names);
    symlinkSync(Buffer.from(target, 'latin1'), place);
    lutimesSync(place, modifiedAtSeconds, modifiedAtSeconds);
  }

  #link({ target }: Entry, names: readonly Bytes[]): void {
    const from = namesOf(target, this.#limits);
    const isItself = from.join('/') === names.join('/');
    const first = from.length > 0 && !isItself ? this.#madeFile(from) : undefined;
    if (first === undefined) throw damaged(`${textOf(target)}, which a hard link names, is no file of its own`);
    // A descriptor of each folder, since the way to the one may close that of the other.
    const folder = openFolder(this.#descent.to(from.slice(0, -1)), '.');
    try {
      const place = this.#place(names);
      linkSync(within(folder, from.at(-1) as Bytes), place);
      const made = look(this.#descent.to(names.slice(0, -1)), names.at(-1) as Bytes);
      if (Number(made?.ino) === first) return;
      unlinkSync(place);
      throw damaged(`${textOf(target)} became another file meanwhile`);
    } finally {
      closeSync(folder);
    }
  }

  /** The inode of a file that this archive has made. */
  #madeFile(names: readonly Bytes[]): number | undefined {
    const stats = look(this.#descent.to(names.slice(0, -1)), names.at(-1) as Bytes);
    if (!stats?.isFile() || Number(stats.dev) !== this.#device) return undefined;
    return this.#made.has(Number(stats.ino)) ? Number(stats.ino) : undefined;
  }

  #remember(file: number): void {
    const { dev, ino } = fstatSync(file);
    if (dev === this.#device) this.#made.add(ino);
  }

  /** Where something new can be made: what has the name there goes, though only an empty folder does. */
  #place(names: readonly Bytes[]): Buffer {
    const name = names.at(-1) as Bytes;
    const parent = this.#descent.to(names.slice(0, -1));
    const place = within(parent, name);
    const there = look(parent, name);
    if (there?.isDirectory()) {
      this.#descent.forget(names);
      rmdirSync(place);
    } else if (there) this.#unlink(place, there);
    return place;
  }

  #unlink(place: Buffer, { ino, nlink }: BigIntStats): void {
    unlinkSync(place);
    // The inode's number may become that of a file which is not this archive's.
    if (nlink === 1n) this.#made.delete(Number(ino));
  }

  #openOrMake(folder: number, name: Bytes): number {
    try {
      return openFolder(folder, name);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      mkdirSync(within(folder, name), 0o777);
      return openFolder(folder, name);
    }
  }

  #finishFolder({ names, inode, mode, modifiedAtSeconds }: MadeFolder): void {
    const name = names.at(-1) as Bytes;
    let folder: number;
    try {
      const parent = this.#descent.to(names.slice(0, -1));
      if (Number(look(parent, name)?.ino) !== inode) return; // it was replaced by a later entry
      folder = openFolder(parent, name);
    } catch (error) {
      if (isReplaced(error)) return;
      throw explain(error, names.join('/'));
    }
    try {
      fchmodSync(folder, mode);
      futimesSync(folder, modifiedAtSeconds, modifiedAtSeconds);
    } finally {
      closeSync(folder);
    }
  }
}

function isReplaced(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(error) ?? '');
}

/** The components of a path. Throws `ArchiveFailure` `damaged` for one that leaves the folder. */
function namesOf(path: Bytes, limits: Limits): Bytes[] {
  const names = path.split('/').filter((name, at) => name !== '.' && (name !== '' || at === 0));
  if (names.at(0) === '' && path !== '') throw damaged(`${textOf(path)} is outside the folder`);
  const sound = names.filter((name) => name !== '');
  if (sound.some((name) => name === '..' || name.includes('\0'))) {
    throw damaged(`${textOf(path)} is outside the folder`);
  }
  if (sound.length > limits.depth + 1 || path.length > PATH_BYTES + 1) throw tooDeep(limits);
  return sound;
}

function explain(error: unknown, path: Bytes): unknown {
  const code = codeOf(error);
  if (error instanceof ArchiveFailure || code === undefined) return error;
  const what = `${textOf(path)} cannot be unpacked (${code})`;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new ArchiveFailure('full', `${what}: no space.`, 'Free space there.');
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new ArchiveFailure('denied', `${what}.`, 'Give this user write access.');
  }
  if (code === 'ELOOP' || code === 'ENOTDIR') {
    const remedy = 'Unpack into an empty folder, or store the folder anew.';
    return new ArchiveFailure('damaged', `${what}: a link or file stands where the archive has a folder.`, remedy);
  }
  return new ArchiveFailure('damaged', `${what}.`, 'Unpack into an empty folder, or store the folder anew.');
}
