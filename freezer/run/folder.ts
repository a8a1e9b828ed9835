/** A run's folder on the host: what is mounted into its container. */
import { chown, mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FLOE_UID } from '../agent/protocol.ts';
import type { ImagesPlace } from './imagesPlace.ts';
import { isOwnerAlive, ownerName } from './owner.ts';
import { removeFolder } from './removeFolder.ts';

export interface RunFolder {
  readonly root: string;
  /** Everything that moves with the job, and so everywhere the job can write: one folder for each mount. */
  readonly files: string;
  readonly workspace: string;
  readonly logs: string;
  /** CRIU's images; not in `root`, but where images are kept (imagesPlace.ts). */
  readonly images: string;
  /** The same for all runs of this process, beside the images: see `places.common`. */
  readonly common: string;
  readonly control: string;
  /** Not mounted: what the engine keeps from one freeze to the next. */
  readonly digests: string;
  /** What the container has at /floe: the agent's own, with places for everything else of Floe's. */
  readonly floe: string;
}

/** Folders below `files`, by the place where the container has them. */
export const movingFolders = {
  '/workspace': 'workspace',
  '/tmp': 'tmp',
  '/var/tmp': 'var-tmp',
  '/dev/shm': 'shm',
  '/floe/logs': 'logs',
} as const;

/** Makes a folder that the agent and the engine can use, and the job can neither enter nor list. */
export async function makeClosedFolder(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  await chown(path, FLOE_UID, FLOE_UID);
}

/**
 * The folder's name begins with its owner's and ends with what makes it new, whenever runs of one job are begun. The run's container and
 * control group are called after it.
 */
export async function makeRunFolder(
  places: { readonly stateDirectory: string; readonly images: ImagesPlace },
  name: string,
): Promise<RunFolder> {
  const runs = join(places.stateDirectory, 'runs');
  await mkdir(runs, { recursive: true, mode: 0o700 });
  const root = await mkdtemp(join(runs, `${await ownerName()}-${name}-`));
  const files = join(root, 'files');
  const folder = {
    root,
    files,
    workspace: join(files, movingFolders['/workspace']),
    logs: join(files, movingFolders['/floe/logs']),
    // With a name that no run has had: those of several state folders are in there.
    images: await mkdtemp(join(places.images.directory, `${name}-`)),
    common: places.images.common,
    control: join(root, 'control'),
    digests: join(root, 'digests'),
    floe: join(root, 'floe'),
  };
  await mkdir(files, { mode: 0o700 });
  await chown(folder.images, FLOE_UID, FLOE_UID);
  await Promise.all([folder.control, folder.floe].map(makeClosedFolder));
  return folder;
}

/** What can be mounted before a thaw has brought the job's files: everything of these folders but their places. */
export async function makeMountPoints(folder: RunFolder): Promise<void> {
  for (const name of Object.values(movingFolders)) await mkdir(join(folder.files, name));
}

/** The folders of a job that starts from the beginning. A thaw brings its own. */
export async function makeMovingFolders(folder: RunFolder): Promise<void> {
  await mkdir(folder.workspace);
  await makeClosedFolder(folder.logs);
  for (const place of ['/tmp', '/var/tmp', '/dev/shm'] as const) {
    await mkdir(join(folder.files, movingFolders[place]), { mode: 0o777 });
  }
  await mkdir(join(folder.files, movingFolders['/tmp'], 'home'));
}

export async function removeRunFolder(folder: RunFolder): Promise<void> {
  await Promise.all([removeFolder(folder.root), removeFolder(folder.images)]);
}

/** Removes the folders of owners that are dead. Their images go with their images' place. */
export async function sweepRunFolders(stateDirectory: string): Promise<void> {
  const names = await readdir(join(stateDirectory, 'runs')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  await Promise.all(
    names.map(async (name) => {
      if (await isOwnerAlive(name)) return;
      await removeFolder(join(stateDirectory, 'runs', name));
    }),
  );
}
