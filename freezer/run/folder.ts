/** A run's folder on the host: what is mounted into its container. */
import { chmod, chown, mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FLOE_UID } from '../agent/protocol.ts';
import { FreezerError } from '../errors.ts';
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
  /** What is mounted at /run/secrets: beside the images, and in no checkpoint. Null for a job without secrets. */
  readonly secrets: string | null;
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
  prepareSecrets?: (directory: string) => Promise<void>,
): Promise<RunFolder> {
  if (prepareSecrets && !places.images.isMemory) throw noMemoryForSecrets(places.images.directory);
  const runs = join(places.stateDirectory, 'runs');
  await mkdir(runs, { recursive: true, mode: 0o700 });
  const root = await mkdtemp(join(runs, `${await ownerName()}-${name}-`));
  const files = join(root, 'files');
  // With a name that no run has had: those of several state folders are in there.
  const images = await mkdtemp(join(places.images.directory, `${name}-`));
  const secrets = prepareSecrets ? `${images}.secrets` : null;
  const folder = {
    root,
    files,
    workspace: join(files, movingFolders['/workspace']),
    logs: join(files, movingFolders['/floe/logs']),
    images,
    secrets,
    common: places.images.common,
    control: join(root, 'control'),
    digests: join(root, 'digests'),
    floe: join(root, 'floe'),
  };
  await mkdir(files, { mode: 0o700 });
  await chown(folder.images, FLOE_UID, FLOE_UID);
  await Promise.all([folder.control, folder.floe].map(makeClosedFolder));
  if (secrets === null) return folder;
  try {
    await mkdir(secrets);
    // Whoever the job runs as; nobody else gets through the folders above.
    await chmod(secrets, 0o755);
    await prepareSecrets?.(secrets);
  } catch (error) {
    await removeRunFolder(folder);
    throw error;
  }
  return folder;
}

function noMemoryForSecrets(directory: string): FreezerError {
  const what = `The job has secrets, and this worker would write them to a disk: ${directory} is on no tmpfs.`;
  const remedy = 'Name a folder on a tmpfs in `worker.imagesDir` (FLOE_IMAGES_DIR).';
  return new FreezerError('notHere', what, remedy);
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
  const { root, images, secrets } = folder;
  await Promise.all([root, images, ...(secrets === null ? [] : [secrets])].map(removeFolder));
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
