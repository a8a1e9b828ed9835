/**
 * The image's writable layer on its way into a folder that moves, and out of it into a fresh container of the same image.
 *
 *   <layer>/tree           what was added or changed, and the folders above it, with all their attributes
 *   <layer>/deleted.json   what was deleted: paths, in the order in which they were told
 *
 * The engine tells which paths differ (`docker diff`). A folder that was deleted and made again is told as deleted, and what is in
 * it as added: it is deleted first, then made. The program stands still meanwhile, so nothing changes.
 */
import type { Stats } from 'node:fs';
import { lstat, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { FreezerError } from '../errors.ts';
import { emptyFolder } from '../run/emptyFolder.ts';
import { TOOLBOX_IN_CONTAINER } from '../toolbox.ts';
import { copyPaths } from './copyPaths.ts';
import { isWithin, readMountPoints } from './mountPoints.ts';
import { type LayerChange, places } from './protocol.ts';

/** Where things are; the defaults are those of a container. */
export interface LayerPlaces {
  readonly root?: string;
  readonly layer?: string;
  readonly toolboxDirectory?: string;
  /** Seen from `root`. Default: what the kernel says. */
  readonly mountPoints?: readonly string[];
}

/** Not the job's: Floe's own places, what the engines mark their containers with, and CRIU's notes about the kernel. */
const NOT_THE_JOBS = ['/floe', '/.dockerenv', '/run/.containerenv', '/run/criu.kdat'];

/**
 * Copies what the job changed to the layer's folder, after emptying that. What is mounted (volumes, /proc, /etc/hosts) is left out,
 * and so are sockets and device nodes. Throws `FreezerError`: `diskFull`; `cannotFreeze` for a name that is not UTF-8, and for changes that
 * cannot be true; `failed`.
 * The folder is empty then.
 */
export async function saveLayer(changes: readonly LayerChange[], where: LayerPlaces = {}): Promise<void> {
  const { root, layer, toolboxDirectory, mountPoints, isLeftOut } = await resolve(where);
  await emptyFolder(layer);
  try {
    const wanted = changes.filter(({ path }) => !isLeftOut(path));
    await refuseFalseDeletions(root, wanted, mountPoints);
    const paths = await pathsToCopy(root, wanted, isLeftOut);
    const deleted = wanted.filter(({ kind }) => kind === 'deleted').map(({ path }) => path);
    await writeFile(join(layer, 'deleted.json'), JSON.stringify(deleted));
    await mkdir(join(layer, 'tree'));
    await copyPaths(root, join(layer, 'tree'), paths, toolboxDirectory);
  } catch (error) {
    await emptyFolder(layer);
    throw error;
  }
}

/**
 * Makes the container's files what they were when the layer was saved: first deletions, then the tree. To be called before anything
 * of the job's is restored. Does nothing where no layer was saved. Throws `FreezerError`: `corrupt`, `diskFull`, `failed`.
 */
export async function applyLayer(where: LayerPlaces = {}): Promise<void> {
  const { root, layer, toolboxDirectory, isLeftOut, mountPoints } = await resolve(where);
  const text = await readFile(join(layer, 'deleted.json'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return;
  const remove = async (path: string) => {
    if (mountPoints.some((mount) => isWithin(mount, path))) throw corrupt(`it deletes ${path}, where a volume is`);
    await rm(join(root, path), { recursive: true, force: true });
  };
  for (const path of parsePaths(text)) {
    if (!isLeftOut(path) && (await isInPlace(root, path))) await remove(path);
  }
  const tree = join(layer, 'tree');
  const paths = (await listTree(tree, '/')).filter((path) => !isLeftOut(path));
  for (const path of paths) {
    const [present, saved] = [await find(root, path), await lstat(join(tree, path))];
    if (present && !(present.isDirectory() && saved.isDirectory())) await remove(path);
  }
  await copyPaths(tree, root, ['.', ...paths.map(relative)], toolboxDirectory);
}

async function resolve(where: LayerPlaces) {
  const mountPoints = where.mountPoints ?? (await readMountPoints());
  const leftOut = [...NOT_THE_JOBS, ...mountPoints];
  return {
    root: where.root ?? '/',
    layer: where.layer ?? places.layer,
    toolboxDirectory: where.toolboxDirectory ?? TOOLBOX_IN_CONTAINER,
    mountPoints,
    isLeftOut: (path: string) => leftOut.some((folder) => isWithin(path, folder)),
  };
}

/**
 * An engine that has lost the mount of a container's files finds none, and tells that all were deleted. A layer of that would be of no
 * use, and what the job changed would be missing in it. A folder that is there may have been made again, unless something is mounted in it.
 */
async function refuseFalseDeletions(
  root: string,
  changes: readonly LayerChange[],
  mountPoints: readonly string[],
): Promise<void> {
  for (const { kind, path } of changes) {
    if (kind !== 'deleted') continue;
    const stats = await find(root, path);
    if (!stats || (stats.isDirectory() && !mountPoints.some((mount) => isWithin(mount, path)))) continue;
    const what = `The job cannot be frozen: the container engine says that ${path} was deleted, and it is there.`;
    const remedy =
      "See whether the mount of the container's files is still there, and start the job on another machine.";
    throw new FreezerError('cannotFreeze', what, remedy);
  }
}

/** Relative to `root`, each once, folders before what is in them; first of all the root itself. */
async function pathsToCopy(
  root: string,
  changes: readonly LayerChange[],
  isLeftOut: (path: string) => boolean,
): Promise<string[]> {
  const found = new Set<string>(['/']);
  const lookedAt = new Set<string>();
  for (const { kind, path } of changes) {
    const stats = await find(root, path);
    if (!stats && kind !== 'deleted') refuseUnreadableName(path);
    for (const parent of parentsOf(path)) {
      if (lookedAt.has(parent)) continue;
      lookedAt.add(parent);
      if (await find(root, parent)) found.add(parent);
    }
    if (!stats || !canBeCopied(stats)) continue;
    found.add(path);
    // Deleted, and there: it was made again, and nothing in it is the image's. What looks like the image's own is not told.
    if (kind !== 'deleted' || !stats.isDirectory()) continue;
    for (const below of await listTree(root, path)) {
      const inside = await find(root, below);
      if (!inside) refuseUnreadableName(below);
      else if (!isLeftOut(below) && canBeCopied(inside)) found.add(below);
    }
  }
  return [...found].sort().map(relative);
}

/** Everything below `folder`, seen from `root`, folders before what is in them. Links are not followed. */
async function listTree(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const lists = entries.map(async (entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? [path, ...(await listTree(root, path))] : [path];
  });
  return (await Promise.all(lists)).flat();
}

function canBeCopied(stats: Stats): boolean {
  return stats.isFile() || stats.isDirectory() || stats.isSymbolicLink() || stats.isFIFO();
}

/** What is there, without following a link; undefined where nothing is, or not in folders. */
async function find(root: string, path: string): Promise<Stats | undefined> {
  return await lstat(join(root, path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
}

/** Whether every folder above is a folder, and no link that leads elsewhere. */
async function isInPlace(root: string, path: string): Promise<boolean> {
  for (const parent of parentsOf(path)) {
    if (!(await find(root, parent))?.isDirectory()) return false;
  }
  return true;
}

/** From the top down, without the root and the path itself. */
function parentsOf(path: string): string[] {
  const parent = dirname(path);
  return parent === '/' ? [] : [...parentsOf(parent), parent];
}

function relative(path: string): string {
  return path === '/' ? '.' : path.slice(1);
}

/** The engine puts U+FFFD for bytes that it cannot tell as text; a file that is merely gone is none of ours. */
function refuseUnreadableName(path: string): void {
  if (!path.includes('\ufffd')) return;
  const what = `The job cannot be frozen: the name of a file in its container is not UTF-8: ${path}.`;
  throw new FreezerError('cannotFreeze', what, 'Let the program name its files in UTF-8.');
}

function parsePaths(text: string): string[] {
  const paths: unknown = JSON.parse(text);
  const isPath = (path: unknown) => typeof path === 'string' && /^\/./.test(path) && normalize(path) === path;
  if (!Array.isArray(paths) || !paths.every(isPath)) throw corrupt('its list of deleted files is malformed');
  return paths;
}

function corrupt(what: string): FreezerError {
  return new FreezerError(
    'corrupt',
    `The checkpoint is corrupt: ${what}.`,
    'Floe falls back to the checkpoint before it.',
  );
}
