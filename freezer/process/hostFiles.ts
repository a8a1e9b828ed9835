/**
 * What a job sees of the machine's files: its programs and libraries and a copy of /etc, read-only, and there only what every user of
 * the machine may read. A job without a user of its own is the machine's root to the kernel, so that root's files must not be there at all.
 */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { execa } from 'execa';
import { isWithin, readMountPoints } from '../agent/mountPoints.ts';
import { ignoreEnded } from '../agent/processes.ts';
import { FreezerError } from '../errors.ts';
import { copyOfEtc } from './etcCopy.ts';
import type { MachineAccess } from './machineAccess.ts';
import { networkFiles } from './network.ts';

/** Where programs are. */
const PROGRAM_FOLDERS = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/opt', '/nix'];
/** Places that programs look for, and find empty. */
const EMPTY_FOLDERS = ['/run', '/var'];
/** Top-level folders that the container has of its own. */
const OWN = new Set(['proc', 'dev', 'tmp', 'workspace', 'floe', 'lost+found']);
/** Mounts that are part of what they are in. */
const PARTS = ['/nix/store'];
/** Floe's configuration, also where everybody may read it. */
const CONFIGURATION = '/etc/floe';

/** Arguments for bubblewrap, as bytes: a file's name need not be text. Each ends with a NUL. */
export async function hostFiles(access: MachineAccess, stateDirectory: string): Promise<Buffer> {
  if (access.readablePaths === 'all') return encode(await wholeMachine());
  const hiddenPaths = [...access.hiddenPaths, stateDirectory, CONFIGURATION];
  const own = access.network === 'isolated' ? await networkFiles(access.nameservers) : {};
  const etc = await copyOfEtc({ stateDirectory, hiddenPaths, own });
  const hidden = await hiddenAmong(await programFolders(), access.readablePaths);
  const ofFloe = await floesOwn(hiddenPaths, access.readablePaths);
  return Buffer.concat([
    encode(await topLevel(PROGRAM_FOLDERS)),
    encode(['--ro-bind', etc, '/etc', ...EMPTY_FOLDERS.flatMap((path) => ['--dir', path])]),
    ...hidden.map(cover),
    encode(access.readablePaths.flatMap((path) => ['--ro-bind', path, path])),
    ...ofFloe.map(cover),
    ...[...hidden, ...ofFloe].map(close),
    encode(['--ro-bind', '/sys', '/sys']),
  ]);
}

/** Throws `FreezerError` `cannotRun` for a readable path that is not there. */
export async function requireReadablePaths({ readablePaths }: MachineAccess): Promise<void> {
  if (readablePaths === 'all') return;
  for (const path of readablePaths) {
    if (await lstat(path).catch(ignoreEnded(null))) continue;
    const what = `Jobs are to read ${path} (worker.readablePaths), and this machine does not have it.`;
    throw new FreezerError('cannotRun', what, 'Make or mount it, or leave it out of `worker.readablePaths`.');
  }
}

/** The machine's top-level folders, and its links such as /bin as links. */
export async function wholeMachine(): Promise<string[]> {
  const names = (await readdir('/')).filter((name) => !OWN.has(name));
  return topLevel(names.map((name) => `/${name}`));
}

async function topLevel(paths: readonly string[]): Promise<string[]> {
  const args = await Promise.all(
    paths.map(async (path) => {
      const stats = await lstat(path).catch(ignoreEnded(null));
      if (stats?.isSymbolicLink()) return ['--symlink', await readlink(path), path];
      return stats?.isDirectory() ? ['--ro-bind', path, path] : [];
    }),
  );
  return args.flat();
}

/** Folders of the machine that jobs see, as they are named there. */
export async function shownFolders({ readablePaths }: MachineAccess): Promise<string[]> {
  if (readablePaths !== 'all') return [...(await programFolders()), '/etc', '/sys', ...readablePaths];
  const entries = await readdir('/', { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory() && !OWN.has(entry.name)).map(({ name }) => `/${name}`);
}

async function programFolders(): Promise<string[]> {
  const found = await Promise.all(
    PROGRAM_FOLDERS.map(async (path) => ((await lstat(path).catch(ignoreEnded(null)))?.isDirectory() ? [path] : [])),
  );
  return found.flat();
}

interface Hidden {
  /** Each character is a byte of the path. */
  readonly path: string;
  readonly isFolder: boolean;
}

/** What was found in program folders, once for this process: they have many files, and change seldom. */
let found: Promise<Hidden[]> | undefined;

/** Looks once more where something of what was found is gone: a cover needs its place. */
async function hiddenAmong(folders: readonly string[], readable: readonly string[]): Promise<Hidden[]> {
  found ??= findHidden(folders);
  if (!(await areThere(await found))) found = findHidden(folders);
  const isShown = ({ path }: Hidden) => readable.some((shown) => isWithin(path, latin1(shown)));
  return (await found).filter((hidden) => !isShown(hidden));
}

async function areThere(hidden: readonly Hidden[]): Promise<boolean> {
  const states = await Promise.all(
    hidden.map(async ({ path, isFolder }) => {
      const stats = await lstat(Buffer.from(path, 'latin1')).catch(ignoreEnded(null));
      return stats?.isDirectory() === isFolder;
    }),
  );
  return states.every(Boolean);
}

/**
 * What not every user may read, what is no file (a socket can be connected to on a read-only mount, too), and what is mounted there:
 * other file systems, which may be large, are shown only where they are named as readable.
 */
async function findHidden(folders: readonly string[]): Promise<Hidden[]> {
  const { stdout } = await execa(
    'find',
    [
      ...folders,
      '-xdev',
      ...['-type', 'd', '!', '-perm', '-005', '-printf', 'd%p\\0', '-prune', '-o'],
      ...['-type', 'f', '!', '-perm', '-004', '-printf', 'f%p\\0', '-o'],
      ...['!', '-type', 'd', '!', '-type', 'f', '!', '-type', 'l', '-printf', 'f%p\\0'],
    ],
    // Something that vanishes meanwhile is no concern.
    { encoding: 'buffer', reject: false, maxBuffer: 64 * 2 ** 20, env: { LC_ALL: 'C' } },
  );
  const unreadable = Buffer.from(stdout)
    .toString('latin1')
    .split('\0')
    .filter(Boolean)
    .map((line) => ({ path: line.slice(1), isFolder: line.startsWith('d') }));
  return withoutNested([...unreadable, ...(await foldersMountedIn(folders))]);
}

async function foldersMountedIn(folders: readonly string[]): Promise<Hidden[]> {
  const points = (await readMountPoints()).filter(
    (path) => !PARTS.includes(path) && folders.some((folder) => path !== folder && isWithin(path, folder)),
  );
  const kinds = await Promise.all(
    points.map(async (path) => {
      const stats = await lstat(path).catch(ignoreEnded(null));
      return stats?.isDirectory() ? [{ path: latin1(path), isFolder: true }] : [];
    }),
  );
  return kinds.flat();
}

/** A cover over something that is covered already has no place. */
function withoutNested(hidden: readonly Hidden[]): Hidden[] {
  const covered = new Set<string>();
  return hidden
    .toSorted((a, b) => a.path.length - b.path.length)
    .filter(({ path, isFolder }) => {
      for (let at = path.length; at > 0; at = path.lastIndexOf('/', at - 1)) {
        if (covered.has(path.slice(0, at))) return false;
      }
      if (isFolder) covered.add(path);
      return true;
    });
}

/** What of Floe's own the job would see. */
async function floesOwn(paths: readonly string[], readable: readonly string[]): Promise<Hidden[]> {
  const shown = [...PROGRAM_FOLDERS, ...readable];
  const hidden = await Promise.all(
    paths
      .filter((path) => shown.some((folder) => isWithin(path, folder)))
      .map(async (path) => {
        const stats = await lstat(path).catch(ignoreEnded(null));
        return stats === null ? [] : [{ path: latin1(path), isFolder: stats.isDirectory() }];
      }),
  );
  return withoutNested(hidden.flat());
}

function cover({ path, isFolder }: Hidden): Buffer {
  const place = Buffer.from(`${path}\0`, 'latin1');
  return Buffer.concat([encode(isFolder ? ['--tmpfs'] : ['--ro-bind', '/dev/null']), place]);
}

/** What is written to an empty folder would not move with the job. */
function close({ path, isFolder }: Hidden): Buffer {
  return isFolder ? Buffer.concat([encode(['--remount-ro']), Buffer.from(`${path}\0`, 'latin1')]) : Buffer.alloc(0);
}

function latin1(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** As bubblewrap reads them from a descriptor. */
export function encode(args: readonly string[]): Buffer {
  return Buffer.from(args.map((arg) => `${arg}\0`).join(''));
}
