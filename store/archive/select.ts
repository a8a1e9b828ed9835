/** Which files of a folder a list of patterns means. No pattern leads through a link. */
import { closeSync } from 'node:fs';
import { type Bytes, bytesOf, Descent, isGone, look, openFolder, readNames, textOf } from './beneath.ts';
import { ArchiveFailure } from './failure.ts';
import type { Limits } from './order.ts';
import { isLiteral, matchesName, segmentsOf } from './patterns.ts';

export interface Selection {
  /** Paths from the folder, sorted, none within another. Empty strings stand for the folder itself. */
  readonly paths: readonly Bytes[];
  /** Numbers of the patterns that nothing matched. */
  readonly unmatched: readonly number[];
}

/** `onStep` is called often, and tells that the work goes on. */
export function select(
  root: number,
  patterns: readonly string[] | null,
  limits: Limits,
  onStep: () => void,
): Selection {
  if (patterns === null || patterns.includes('.')) {
    return { paths: [''], unmatched: unmatchedOf(root, patterns ?? [], limits, onStep) };
  }
  const found = new Set<Bytes>();
  const unmatched: number[] = [];
  for (const [number, pattern] of patterns.entries()) {
    const matches = expand(root, pattern, limits, onStep);
    if (matches.length === 0) unmatched.push(number);
    for (const match of matches) found.add(match);
    if (found.size > limits.entries) throw tooMany(limits);
  }
  return { paths: [...found].filter((path) => !isWithinAnother(path, found)).sort(), unmatched };
}

/** Everything is taken, but what names nothing is still told. */
function unmatchedOf(root: number, patterns: readonly string[], limits: Limits, onStep: () => void): number[] {
  return [...patterns.entries()]
    .filter(([, pattern]) => pattern !== '.' && expand(root, pattern, limits, onStep).length === 0)
    .map(([number]) => number);
}

export function tooMany({ entries }: Limits): ArchiveFailure {
  const what = `There are more than ${entries} files, folders and links.`;
  return new ArchiveFailure('tooLarge', what, 'Leave some out, or pack them in one file.');
}

export function tooDeep({ depth }: Limits): ArchiveFailure {
  const what = `Its folders are nested more than ${depth} deep, or a path is longer than the kernel takes.`;
  return new ArchiveFailure('invalid', what, 'Nest its folders less deeply, or leave these out.');
}

function isWithinAnother(path: Bytes, found: ReadonlySet<Bytes>): boolean {
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
    if (found.has(path.slice(0, at))) return true;
  }
  return false;
}

/** A name that is there counts as itself, whatever characters it has. */
function expand(root: number, pattern: string, limits: Limits, onStep: () => void): Bytes[] {
  if (pattern.includes('\0')) return [];
  const literal = bytesOf(pattern);
  if (isThere(root, literal.split('/'), limits)) return [literal];
  if (isLiteral(pattern)) return [];
  const search = new Search(limits, onStep);
  for (const segments of segmentsOf(pattern)) search.walk(root, '', segments, 0);
  return [...search.found];
}

function isThere(root: number, names: readonly Bytes[], limits: Limits): boolean {
  if (names.length > limits.depth) return false;
  using descent = new Descent(root);
  try {
    return look(descent.to(names.slice(0, -1)), names.at(-1) as Bytes) !== undefined;
  } catch (error) {
    if (isGone(error) || (error as NodeJS.ErrnoException).code === 'ENAMETOOLONG') return false;
    throw error;
  }
}

class Search {
  readonly found = new Set<Bytes>();
  readonly #limits: Limits;
  readonly #onStep: () => void;

  constructor(limits: Limits, onStep: () => void) {
    this.#limits = limits;
    this.#onStep = onStep;
  }

  /** Adds what `segments` match in an open folder, whose path is `path`, so many folders below the root. */
  walk(folder: number, path: Bytes, segments: readonly string[], depth: number): void {
    if (depth > this.#limits.depth) throw tooDeep(this.#limits);
    const [segment = '', ...rest] = segments;
    if (segment === '**') {
      this.#walkAll(folder, path, rest, depth);
      return;
    }
    if (isLiteral(segment)) {
      const name = bytesOf(segment);
      if (rest.length > 0) this.#enter(folder, path, name, (below, at) => this.walk(below, at, rest, depth + 1));
      else if (look(folder, name) !== undefined) this.#add(path + name);
      return;
    }
    for (const { name, mayBeFolder } of this.#names(folder)) {
      if (!matchesName(textOf(name), segment)) continue;
      if (rest.length === 0) this.#add(path + name);
      else if (mayBeFolder) this.#enter(folder, path, name, (below, at) => this.walk(below, at, rest, depth + 1));
    }
  }

  /** `**`: this folder and those below, but for hidden ones. At the end it stands for what is in this folder, with all below. */
  #walkAll(folder: number, path: Bytes, rest: readonly string[], depth: number): void {
    this.walk(folder, path, rest.length === 0 ? ['*'] : rest, depth);
    if (rest.length === 0 || rest[0] === '**') return;
    for (const { name, mayBeFolder } of this.#names(folder)) {
      if (!mayBeFolder || name.startsWith('.')) continue;
      this.#enter(folder, path, name, (below, at) => this.walk(below, at, ['**', ...rest], depth + 1));
    }
  }

  #names(folder: number): { name: Bytes; mayBeFolder: boolean }[] {
    const names: { name: Bytes; mayBeFolder: boolean }[] = [];
    readNames(folder, (name) => {
      this.#onStep();
      if (names.push(name) > this.#limits.entries) throw tooMany(this.#limits);
    });
    return names;
  }

  #add(path: Bytes): void {
    this.found.add(path);
    if (this.found.size > this.#limits.entries) throw tooMany(this.#limits);
  }

  #enter(folder: number, path: Bytes, name: Bytes, walk: (below: number, path: Bytes) => void): void {
    let below: number;
    try {
      below = openFolder(folder, name);
    } catch (error) {
      if (isGone(error)) return;
      throw error;
    }
    try {
      walk(below, `${path}${name}/`);
    } finally {
      closeSync(below);
    }
  }
}
