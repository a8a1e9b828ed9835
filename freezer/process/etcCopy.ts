/**
 * The /etc of jobs: a copy of what every user of the machine may read there. Not the machine's own with the rest covered, because a
 * cover is gone as soon as its file is replaced, and /etc/shadow is replaced whenever a password changes.
 */
import { createHash } from 'node:crypto';
import { cp, lstat, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { isWithin } from '../agent/mountPoints.ts';
import { ignoreEnded } from '../agent/processes.ts';
import { isOwnerAlive, ownerName } from '../run/owner.ts';
import { removeFolder } from '../run/removeFolder.ts';

const TRIES = 5;
const OTHERS_READ = 0o4;
const OTHERS_ENTER = 0o5;

interface Copy {
  /** Of what was copied, and of what was put in. */
  readonly signature: string;
  readonly directory: Promise<string>;
}

/** Asked for all at once, the thousand files of /etc hold up the event loop. */
const LOOKS_AT_ONCE = 32;

/** The newest copy of this process, by state folder. Older ones are there for the jobs that have them. */
const newest = new Map<string, Copy>();

export interface EtcOptions {
  readonly stateDirectory: string;
  /** Left out, though everybody may read them. */
  readonly hiddenPaths: readonly string[];
  /** Files of the job's own in the place of the machine's: content by name. */
  readonly own: Readonly<Record<string, string>>;
}

/** The folder of a copy that is as /etc is now. It must not be changed. */
export async function copyOfEtc(options: EtcOptions): Promise<string> {
  const signature = await signatureOf(options);
  const known = newest.get(options.stateDirectory);
  if (known?.signature === signature) return known.directory;
  const directory = copy(options);
  newest.set(options.stateDirectory, { signature, directory });
  directory.catch(() => newest.delete(options.stateDirectory)); // the caller has the error
  return directory;
}

/** Removes the copies of processes that are dead. */
export async function sweepEtcCopies(stateDirectory: string): Promise<void> {
  const parent = join(stateDirectory, 'etc');
  for (const name of await readdir(parent).catch(ignoreEnded([]))) {
    if (!(await isOwnerAlive(name))) await removeFolder(join(parent, name));
  }
}

async function copy(options: EtcOptions): Promise<string> {
  const parent = join(options.stateDirectory, 'etc');
  await mkdir(parent, { recursive: true, mode: 0o700 });
  for (let tried = 1; ; tried++) {
    const root = await mkdtemp(join(parent, `${await ownerName()}-`));
    try {
      const directory = join(root, 'etc');
      await cp('/etc', directory, {
        recursive: true,
        preserveTimestamps: true,
        verbatimSymlinks: true,
        filter: (path) => isForAll(path, options),
      });
      for (const [name, content] of Object.entries(options.own)) {
        await rm(join(directory, name), { force: true });
        await writeFile(join(directory, name), content);
      }
      return directory;
    } catch (error) {
      await removeFolder(root);
      // Something was removed while it was copied.
      const isPassing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      if (!isPassing || tried === TRIES) throw error;
    }
  }
}

async function isForAll(path: string, { hiddenPaths }: EtcOptions): Promise<boolean> {
  if (hiddenPaths.some((hidden) => isWithin(path, hidden))) return false;
  const stats = await lstat(path).catch(ignoreEnded(null));
  if (stats === null) return false;
  if (stats.isSymbolicLink()) return true;
  if (stats.isDirectory()) return (stats.mode & OTHERS_ENTER) === OTHERS_ENTER;
  return stats.isFile() && (stats.mode & OTHERS_READ) !== 0;
}

async function signatureOf({ hiddenPaths, own }: EtcOptions): Promise<string> {
  const paths = (await readdir('/etc', { recursive: true }).catch(ignoreEnded([]))).sort();
  const atOnce = pLimit(LOOKS_AT_ONCE);
  const entries = await Promise.all(
    paths.map((path) =>
      atOnce(async () => {
        const stats = await lstat(join('/etc', path)).catch(ignoreEnded(null));
        return [path, stats?.mode, stats?.size, stats?.ino, stats?.ctimeMs];
      }),
    ),
  );
  return createHash('sha256')
    .update(JSON.stringify([entries, hiddenPaths, own]))
    .digest('hex');
}
