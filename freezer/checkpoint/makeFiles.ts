/**
 * Files on their way in: a list of entries as a folder. Content comes between `makeFiles` and `finishFiles`.
 *
 * With calls that block, in the engine's own process: for a small file each call that does not block costs many times what
 * it does.
 */
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { FreezerError } from '../errors.ts';
import { setExtendedAttributes } from './extendedAttributes.ts';
import type { FileEntry } from './format.ts';

/** The kernel takes 2 MiB of arguments, and a path has 4095 bytes at most. */
const PIPES_AT_ONCE = 200;

/**
 * Makes everything but the files' content; files get their size, as holes. `root` must exist and have nothing but folders. Throws
 * `FreezerError` `corrupt` for a list that could reach out of it.
 */
export async function makeFiles(root: string, entries: readonly FileEntry[]): Promise<void> {
  refuseEscapes(entries);
  const pipes: string[] = [];
  for (const entry of entries) {
    const path = join(root, entry.path);
    if (entry.type === 'directory') mkdirSync(path, { recursive: true });
    else if (entry.type === 'symlink') symlinkSync(entry.target, path);
    else if (entry.type === 'link') linkSync(join(root, entry.target), path);
    else if (entry.type === 'file') makeFile(path, entry.sizeBytes);
    else pipes.push(path);
  }
  for (let at = 0; at < pipes.length; at += PIPES_AT_ONCE) {
    await execa('mkfifo', ['--', ...pipes.slice(at, at + PIPES_AT_ONCE)]);
  }
}

function makeFile(path: string, sizeBytes: number): void {
  const file = openSync(path, 'wx', 0o600);
  try {
    if (sizeBytes > 0) ftruncateSync(file, sizeBytes);
  } finally {
    closeSync(file);
  }
}

/**
 * Every entry must be new and in a folder that came before it, and a link must name a file that came before it: then
 * nothing is ever written through a link, whoever made the list.
 */
function refuseEscapes(entries: readonly FileEntry[]): void {
  const types = new Map<string, FileEntry['type']>();
  for (const entry of entries) {
    const parent = dirname(entry.path);
    const hasPlace = parent === '.' ? entry.type === 'directory' : types.get(parent) === 'directory';
    const isSound = entry.type !== 'link' || types.get(entry.target) === 'file';
    if (!hasPlace || !isSound || types.has(entry.path)) {
      const what = `The checkpoint is corrupt: its entry "${entry.path}" is out of place.`;
      throw new FreezerError('corrupt', what, 'Floe falls back to the checkpoint before it.');
    }
    types.set(entry.path, entry.type);
  }
}

/**
 * Sets owners, extended attributes, modes and times, when all content is in place; folders last, since what is done in them
 * touches their times. In this order, because a change of owner takes setuid bits and file capabilities away, and the mode
 * is what an access control list leaves of it. Throws as `setExtendedAttributes` does.
 */
export async function finishFiles(
  root: string,
  entries: readonly FileEntry[],
  toolboxDirectory: string,
): Promise<void> {
  for (const entry of entries) {
    if (entry.type !== 'link') lchownSync(join(root, entry.path), entry.uid, entry.gid);
  }
  await setExtendedAttributes(root, entries, toolboxDirectory);
  for (const entry of entries.toReversed()) {
    if (entry.type === 'link') continue;
    const path = join(root, entry.path);
    const seconds = entry.modifiedAtMs / 1000;
    if (entry.type === 'symlink') {
      lutimesSync(path, seconds, seconds);
      continue;
    }
    chmodSync(path, entry.mode);
    utimesSync(path, seconds, seconds);
  }
}
