/**
 * The files of an image that an engine itself reads when it starts a container: it looks up the user, also one that is given by number.
 * Docker and Podman read them to their end and hold them in memory. A FIFO holds the start up for ever; a device or a huge file
 * takes all memory of the engine, which all containers of the machine share. So they are looked at before the first start.
 */
import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { FreezerError } from '../errors.ts';
import { removeContainer } from './container.ts';
import { type ContainerEngine, EngineRefusal } from './engine.ts';
import type { Image } from './image.ts';
import { type TarEntry, tarEntries } from './tarEntries.ts';

const READ_BY_ENGINES = ['etc/passwd', 'etc/group'];
const MOST_BYTES = 2 ** 20;
const MOST_LINKS = 8;
/** An image with neither file is read whole: some hundred MB a second. */
const READS_WITHIN_MS = 600_000;

/**
 * Does nothing for an image that the engine has been found able to start. What is read is the image's own tree, with no volume
 * and no `/proc` over it: as Docker exports it from a container that never starts, or as Podman mounts it.
 * Throws `FreezerError`: `unsupported` when such a file is neither absent nor a regular one of at most 1 MiB; `cannotRun`; `diskFull`.
 */
export async function requireHarmlessFiles(
  engine: ContainerEngine,
  image: Pick<Image, 'pin' | 'volumes'>,
  options: LookOptions,
): Promise<void> {
  if (engine.harmlessImages.has(image.pin)) return;
  // Podman exports to no socket, which a child of Node's has as its output.
  await (engine.name === 'docker' ? lookAtExport : lookAtMount)(engine, image, options);
  engine.harmlessImages.add(image.pin);
}

async function lookAtExport(
  engine: ContainerEngine,
  { pin, volumes }: Pick<Image, 'pin' | 'volumes'>,
  { labels, emptyFolder, signal }: LookOptions,
): Promise<void> {
  const name = `floe-look-${randomUUID()}`;
  const labelOptions = Object.entries(labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]);
  // Where something is mounted already, Docker copies no volume's content.
  const covers = volumes.flatMap((place) => ['--volume', `${emptyFolder}:${place}:ro`]);
  const options = ['--name', name, '--network', 'none', '--entrypoint', '/floe', ...labelOptions, ...covers];
  try {
    await engine.call(['create', ...options, pin], { signal });
    await lookAt(async (paths, found) => {
      const tree = engine.stream(['export', name], { signal, withinMs: READS_WITHIN_MS });
      await findInArchive(tree, paths, found).catch(async (error: unknown) => {
        if (!(error instanceof EngineRefusal && error.isDown)) throw error;
        await engine.version(); // throws when it is the engine that does not answer
        throw harmful(paths[0] ?? '', 'finding it takes too long', { cause: error });
      });
    });
  } finally {
    await removeContainer(engine, name);
  }
}

async function lookAtMount(
  engine: ContainerEngine,
  { pin }: Pick<Image, 'pin'>,
  { signal }: LookOptions,
): Promise<void> {
  const root = (await engine.call(['image', 'mount', pin], { signal })).trim();
  try {
    await lookAt((paths, found) => findInFolder(root, paths, found));
  } finally {
    await engine.call(['image', 'unmount', pin]);
  }
}

interface LookOptions {
  /** For what is left of it if the worker dies. */
  readonly labels: Readonly<Record<string, string>>;
  /** On the machine. Nothing is written there. */
  readonly emptyFolder: string;
  readonly signal?: AbortSignal | undefined;
}

/** By path. Null is a path where nothing is. */
type Found = Map<string, TarEntry | null>;

/** Adds what the image has at the paths and in the folders above them. */
type Find = (paths: readonly string[], found: Found) => Promise<void>;

/** Looks once for all files, and again for each link on the way to one. */
async function lookAt(find: Find): Promise<void> {
  const found: Found = new Map();
  let unknown = READ_BY_ENGINES;
  for (let looks = 0; unknown.length > 0; looks++) {
    if (looks > 2 * MOST_LINKS) throw harmful(unknown[0] ?? '', 'it is behind too many links');
    await find(unknown, found);
    unknown = READ_BY_ENGINES.flatMap((file) => follow(file, found) ?? []);
  }
}

async function findInArchive(tree: AsyncIterable<Uint8Array>, paths: readonly string[], found: Found): Promise<void> {
  const wanted = new Set(paths.flatMap(withParents));
  const awaited = new Set(paths);
  for await (const entry of tarEntries(tree)) {
    if (!wanted.has(entry.path)) continue;
    found.set(entry.path, entry);
    // Nothing is below what is no folder.
    for (const path of awaited)
      if (path === entry.path || (entry.kind !== 'folder' && path.startsWith(`${entry.path}/`))) awaited.delete(path);
    if (awaited.size === 0) return;
  }
  for (const path of wanted) if (!found.has(path)) found.set(path, null);
}

/** From the top down, and not beyond a link: it may lead out of the folder. */
async function findInFolder(root: string, paths: readonly string[], found: Found): Promise<void> {
  for (const path of paths.flatMap(withParents)) {
    const above = found.get(posix.dirname(path));
    const canBeThere = !path.includes('/') || above?.kind === 'folder';
    found.set(path, canBeThere ? await entryAt(root, path) : null);
  }
}

async function entryAt(root: string, path: string): Promise<TarEntry | null> {
  const place = join(root, path);
  try {
    const stats = await lstat(place);
    const target = stats.isSymbolicLink() ? await readlink(place) : '';
    return { path, kind: kindOf(stats), target, sizeBytes: stats.size };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function kindOf(stats: Stats): TarEntry['kind'] {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'folder';
  return stats.isSymbolicLink() ? 'link' : 'other';
}

/**
 * The path that has to be known before it is clear where `file` is; null when it is clear, and harmless. As the engine does, from the top
 * down, with the image's root folder as the root of all links, and with `..` as the way back also from what is not there. Throws `FreezerError` `unsupported`.
 */
function follow(file: string, found: Found): string | null {
  let reached: string[] = [];
  const ahead = file.split('/');
  for (let links = 0; ; ) {
    const part = ahead.shift();
    if (part === undefined) throw harmful(file, 'it is a folder');
    if (part === '' || part === '.') continue;
    if (part === '..') {
      reached.pop();
      continue;
    }
    const path = [...reached, part].join('/');
    const entry = found.get(path);
    if (entry === undefined) return [path, ...ahead.filter((name) => name !== '' && name !== '.')].join('/');
    if (entry?.kind === 'link' || entry?.kind === 'hardLink') {
      if (++links > MOST_LINKS) throw harmful(file, 'it is behind too many links');
      if (entry.kind === 'hardLink' || entry.target.startsWith('/')) reached = [];
      ahead.unshift(...entry.target.split('/'));
    } else if (entry?.kind === 'folder' || ahead.length > 0) reached.push(part);
    else if (entry === null) return null;
    else if (entry.kind !== 'file') throw harmful(file, 'it is a device or a FIFO');
    else if (entry.sizeBytes > MOST_BYTES) throw harmful(file, `it has ${entry.sizeBytes} bytes`);
    else return null;
  }
}

/** The path itself last. */
function withParents(path: string): string[] {
  const parts = path.split('/');
  return parts.map((_, at) => parts.slice(0, at + 1).join('/'));
}

function harmful(file: string, why: string, options?: ErrorOptions): FreezerError {
  const what = `The container engine would read /${file} of the image to its end, and cannot: ${why}.`;
  const remedy = 'Build the image with a regular file of at most 1 MiB there, or without one.';
  return new FreezerError('unsupported', what, remedy, options);
}
