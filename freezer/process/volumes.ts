/**
 * Folders that move with a job, beside the workspace. One that the machine has too, below a root that its operator names, begins as
 * a copy of that; any other begins empty. The copy's folder is named by its place, so that a thaw needs nothing but the files.
 */
import { mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { execa } from 'execa';
import { isWithin } from '../agent/mountPoints.ts';
import { FreezerError } from '../errors.ts';
import { movingFolders, type RunFolder } from '../run/folder.ts';
import { shownFolders } from './hostFiles.ts';
import type { MachineAccess } from './machineAccess.ts';

export interface Volume {
  /** Where the job has it. */
  readonly place: string;
  /** Host path of the job's own copy. */
  readonly directory: string;
}

const FOLDER_PREFIX = 'volume-';
/** A file name's most, less what encoding a character can add. */
const LONGEST_NAME = 240;
const RESERVED = ['/floe', '/proc', '/sys', '/dev', ...Object.keys(movingFolders)];

/**
 * Throws `FreezerError` `unsupported` for a place that cannot be a volume, and `notHere` for one that this machine has outside of
 * `roots`.
 */
export async function makeVolumes(
  folder: RunFolder,
  places: readonly string[],
  { volumeRoots }: MachineAccess,
): Promise<void> {
  for (const place of places) refuseImpossible(place, places);
  for (const place of places) {
    const directory = join(folder.files, folderName(place));
    await mkdir(directory);
    const kind = await kindOf(place);
    if (kind === 'missing') continue;
    if (kind === 'other') throw impossible(place, 'it is no folder on this machine');
    await copyFolder(await requireRoot(place, volumeRoots), directory);
  }
}

/** Where the folder really is: a link in its path may lead out of the root. */
async function requireRoot(place: string, roots: readonly string[]): Promise<string> {
  const real = await realpath(place);
  const realRoots = await Promise.all(roots.map((root) => realpath(root).catch(() => null)));
  if (realRoots.some((root) => root !== null && isWithin(real, root))) return real;
  throw new FreezerError(
    'notHere',
    `The job has a volume at ${place}, and this machine has a folder there that jobs may not copy.`,
    'Name a folder above it in `worker.volumeRoots`, or give the job a volume at a place that the machine does not have.',
  );
}

/** Links stay links, and what is no file, folder or link is left out. */
async function copyFolder(from: string, to: string): Promise<void> {
  await execa('cp', ['--archive', '--no-target-directory', '--', from, to]);
  await execa('find', [to, '!', '-type', 'd', '!', '-type', 'f', '!', '-type', 'l', '-delete']);
}

/** Makes the folders of volumes whose content a thaw brings. Throws as `makeVolumes` does. */
export async function makeVolumeFolders(folder: RunFolder, places: readonly string[]): Promise<void> {
  for (const place of places) refuseImpossible(place, places);
  for (const place of places) await mkdir(join(folder.files, folderName(place)));
}

/** The volumes of a run, new or thawed, by what is in its folder of moving files. */
export async function volumesOf(filesDirectory: string): Promise<Volume[]> {
  const names = await readdir(filesDirectory);
  return volumePlaces(names).map((place) => ({ place, directory: join(filesDirectory, folderName(place)) }));
}

/** The places of the volumes among folders of moving files. */
export function volumePlaces(folders: readonly string[]): string[] {
  const own = folders.filter((name) => name.startsWith(FOLDER_PREFIX)).sort();
  return own.map((name) => decodeURIComponent(name.slice(FOLDER_PREFIX.length)));
}

/**
 * Throws `FreezerError` `notHere` for a volume that cannot be mounted: the folders that a job sees of the machine are read-only, so
 * that a place inside of one must be there. Anywhere else it is made.
 */
export async function requirePlaces(volumes: readonly Volume[], access: MachineAccess): Promise<void> {
  const shown = await shownFolders(access);
  for (const { place } of volumes) {
    if (!shown.some((folder) => isWithin(place, folder)) || (await kindOf(place)) === 'folder') continue;
    const what = `The job has a volume at ${place}, and this machine has no such folder.`;
    throw new FreezerError('notHere', what, `Make it: mkdir -p ${place}`);
  }
}

function refuseImpossible(place: string, all: readonly string[]): void {
  if (!place.startsWith('/') || normalize(`${place}/`) !== `${place}/`) {
    throw impossible(place, 'it is not an absolute path in its shortest form');
  }
  if (place === '/') throw impossible(place, 'the machine itself cannot move');
  const within = (outer: string) => `${place}/`.startsWith(`${outer}/`);
  const reserved = RESERVED.find(within);
  if (reserved) throw impossible(place, `${reserved} is the container's own`);
  if (all.filter((other) => within(other)).length > 1)
    throw impossible(place, 'it is in another volume, or named twice');
  if (folderName(place).length > LONGEST_NAME) throw impossible(place, 'its name is too long');
}

function impossible(place: string, why: string): FreezerError {
  return new FreezerError('unsupported', `${place} cannot be a volume: ${why}.`, 'Name another folder.');
}

function folderName(place: string): string {
  return `${FOLDER_PREFIX}${encodeURIComponent(place)}`;
}

async function kindOf(path: string): Promise<'folder' | 'other' | 'missing'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'other';
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'missing';
    throw error;
  }
}
