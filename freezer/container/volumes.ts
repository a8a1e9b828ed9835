/**
 * The folders that a job in a container has of its own: the workspace, shared memory, and the volumes that its image or its spec
 * declares. All are folders of the run, so they are saved and brought back like everything else of the job's.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { isWithin } from '../agent/mountPoints.ts';
import { places } from '../agent/protocol.ts';
import { FreezerError } from '../errors.ts';
import { makeClosedFolder, type RunFolder } from '../run/folder.ts';
import type { Program } from '../runtime.ts';
import type { ContainerEngine } from './engine.ts';
import type { Image } from './image.ts';
import type { Mount } from './mounts.ts';

/** Folders of the run that every job in a container has, by the place where it has them. */
const OWN = {
  [places.workspace]: 'workspace',
  '/dev/shm': 'shm',
  [places.logs]: 'logs',
  [places.layer]: 'layer',
} as const;

/** Those of a job that starts from the beginning. A thaw brings its own. */
export async function makeOwnFolders(folder: RunFolder): Promise<void> {
  await mkdir(folder.workspace);
  await mkdir(join(folder.files, OWN['/dev/shm']));
  await chmod(join(folder.files, OWN['/dev/shm']), 0o1777);
  await makeClosedFolder(folder.logs);
  await makeClosedFolder(join(folder.files, OWN[places.layer]));
}

export function ownMounts(folder: RunFolder): Mount[] {
  return Object.entries(OWN).map(([target, name]) => ({ folder: join(folder.files, name), target }));
}

/** With the folder of the job's secrets. Throws `FreezerError` `unsupported` where the job has a volume in its place. */
export function withSecrets(mounts: readonly Mount[], { secrets }: RunFolder): Mount[] {
  if (secrets === null) return [...mounts];
  const taken = mounts.find(({ target }) => isWithin(target, places.secrets));
  if (taken) throw impossible(taken.target, 'the job has its secrets there');
  return [...mounts, { folder: secrets, target: places.secrets, isReadOnly: true, mustExist: true }];
}

const RESERVED = /^\/$|^\/(proc|sys|dev|floe)(\/|$)/;

/**
 * The places of a job's volumes, the same ones in the same order at every run. Throws `FreezerError` `unsupported` for one that
 * cannot be a volume: nobody has looked at those that an image declares.
 */
export function volumePlaces(program: Pick<Program, 'volumes'>, image: Pick<Image, 'volumes'>): string[] {
  const declared = [...image.volumes, ...(program.volumes ?? [])].map(shortest);
  const wanted = [...new Set(declared)].filter((path) => !(path in OWN));
  for (const path of wanted) {
    if (!path.startsWith('/')) throw impossible(path, 'it is not an absolute path');
    if (RESERVED.test(path)) throw impossible(path, "that place is the container's own");
    if (/[:\p{Cc}]/u.test(path)) throw impossible(path, 'its name has ":" or a control character');
  }
  return wanted.sort();
}

/** Of image and job together. Each is a call to the engine, and nothing can be cancelled meanwhile. */
const MOST_VOLUMES = 100;

/**
 * The same for a job that starts from the beginning. Throws `FreezerError` `unsupported` for too many besides; a checkpoint that has
 * more can be thawed, because its volumes need no calls.
 */
export function newVolumePlaces(program: Pick<Program, 'volumes'>, image: Pick<Image, 'volumes'>): string[] {
  const places = volumePlaces(program, image);
  if (places.length <= MOST_VOLUMES) return places;
  const what = `The image and the job have ${places.length} volumes together, and the limit is ${MOST_VOLUMES}.`;
  throw new FreezerError('unsupported', what, 'Make one volume of a folder that has several of them.');
}

/** `/data/` and `/srv/../data` are `/data`. */
function shortest(path: string): string {
  return normalize(path).replace(/(?<=.)\/$/, '');
}

function impossible(path: string, why: string): FreezerError {
  const what = `The image or the job has a volume at ${JSON.stringify(path)}, which cannot be one: ${why}.`;
  return new FreezerError('unsupported', what, 'Name another folder, in the job or with VOLUME in the image.');
}

/** Where the run keeps the volumes. */
export function volumeFolder(folder: RunFolder, number: number): string {
  return join(folder.files, `volume-${number}`);
}

/**
 * Volumes that begin with what the image has at their places: it is the engine that copies it, into volumes of its own that are
 * but names for the run's folders. `removeVolumes` takes the names away when no
 * container uses them.
 */
export async function createVolumes(
  engine: ContainerEngine,
  folder: RunFolder,
  named: { readonly container: string; readonly labels: Readonly<Record<string, string>> },
  targets: readonly string[],
): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for (const [number, target] of targets.entries()) {
    const device = volumeFolder(folder, number);
    await mkdir(device);
    const volume = volumeName(named.container, number);
    const labels = Object.entries(named.labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]);
    const options = ['type=none', 'o=bind', `device=${device}`].flatMap((option) => ['--opt', option]);
    await engine.call(['volume', 'create', '--driver', 'local', ...labels, ...options, volume]);
    mounts.push({ folder: device, volume, target });
  }
  return mounts;
}

/** The run's folders, which the volumes named, stay. */
export async function removeVolumes(engine: ContainerEngine, container: string): Promise<void> {
  const listed = await engine.call(['volume', 'ls', '--quiet', '--filter', `name=${volumeName(container, '')}`]);
  const names = listed.split('\n').filter((name) => name !== '');
  if (names.length > 0) await engine.call(['volume', 'rm', '--force', ...names]);
}

/** Those that came with a checkpoint. */
export function thawedVolumes(folder: RunFolder, targets: readonly string[]): Mount[] {
  return targets.map((target, number) => ({ folder: volumeFolder(folder, number), target }));
}

function volumeName(container: string, number: number | ''): string {
  return `${container}-volume-${number}`;
}
