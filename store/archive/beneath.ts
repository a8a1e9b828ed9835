/**
 * Files beneath one folder, reached component by component through descriptors, so that no link is ever followed: neither one that was
 * there nor one that somebody puts there meanwhile. Node has no openat2; `/proc/self/fd/N/NAME` with O_NOFOLLOW is its equal.
 */
import { type BigIntStats, closeSync, constants, lstatSync, opendirSync, openSync } from 'node:fs';
import { codeOf } from './failure.ts';

/** A name, a path or a link's target as the kernel has it: one character (of latin1) for each byte. */
export type Bytes = string;

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
/** What the kernel takes as one path, less the byte that ends it. */
export const PATH_BYTES = 4095;

export function bytesOf(text: string): Bytes {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** For people and for patterns: bytes that are not UTF-8 become U+FFFD. */
export function textOf(bytes: Bytes): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** For the calls of node:fs: a name in an open folder. A call follows no link but one of this last name. */
export function within(folder: number, name: Bytes): Buffer {
  return Buffer.from(`/proc/self/fd/${folder}/${name}`, 'latin1');
}

/** The very file that a descriptor has, for calls that take only paths. */
export function itself(file: number): string {
  return `/proc/self/fd/${file}`;
}

/** The folder that all is beneath. It is the caller's own word, so links in its path count. */
export function openRoot(path: string): number {
  return openSync(path, O_RDONLY | O_DIRECTORY);
}

/** Throws ENOTDIR or ELOOP for what is no folder. */
export function openFolder(folder: number, name: Bytes): number {
  return openSync(within(folder, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

/** A pipe in the place of a file does not hold the caller up; the caller looks at the descriptor before it reads. */
export function openToRead(folder: number, name: Bytes): number {
  return openSync(within(folder, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

/** Undefined where there is nothing. */
export function look(folder: number, name: Bytes): BigIntStats | undefined {
  return lstatSync(within(folder, name), { bigint: true, throwIfNoEntry: false });
}

/** Whether a call failed because there is nothing of the name, or no folder. */
export function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(codeOf(error) ?? '');
}

export interface Name {
  readonly name: Bytes;
  /** False when it cannot be one, so that nobody need try. */
  readonly mayBeFolder: boolean;
}

/** Calls `take` for each name in an open folder, in the order of the file system. */
export function readNames(folder: number, take: (name: Name) => void): void {
  const listing = opendirSync(itself(folder), { encoding: 'latin1', bufferSize: 512 });
  try {
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) {
      take({ name: entry.name, mayBeFolder: !entry.isFile() && !entry.isSymbolicLink() });
    }
  } finally {
    listing.closeSync();
  }
}

/** The open folders on the way to one. The next one is often near, and the way to it mostly the same. */
export class Descent implements Disposable {
  readonly #open: (folder: number, name: Bytes) => number;
  readonly #names: Bytes[] = [];
  readonly #folders: number[] = [];
  readonly root: number;

  /** `open` opens one folder in another. The root stays the caller's to close. */
  constructor(root: number, open: (folder: number, name: Bytes) => number = openFolder) {
    this.root = root;
    this.#open = open;
  }

  /** A descriptor of the folder, valid until the next call. Throws what `open` does. */
  to(names: readonly Bytes[]): number {
    let common = 0;
    while (common < names.length && this.#names[common] === names[common]) common += 1;
    this.#leave(common);
    for (const name of names.slice(common)) {
      this.#folders.push(this.#open(this.#folders.at(-1) ?? this.root, name));
      this.#names.push(name);
    }
    return this.#folders.at(-1) ?? this.root;
  }

  /** What is at this path is about to be replaced: a folder of that name must be opened anew. */
  forget(names: readonly Bytes[]): void {
    if (names.every((name, at) => this.#names[at] === name)) this.#leave(names.length - 1);
  }

  #leave(depth: number): void {
    for (const folder of this.#folders.splice(depth)) closeSync(folder);
    this.#names.length = Math.min(this.#names.length, depth);
  }

  [Symbol.dispose](): void {
    this.#leave(0);
  }
}
