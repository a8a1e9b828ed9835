/**
 * Folders of the machine that move with a job, beside the workspace. A job sees its own copy at the same place; what the
 * machine has there is not touched. The copy's folder is named by its place, so that a thaw needs nothing but the files.
 */
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join, normalize, sep } from 'node:path';
import { execa } from 'execa';
import { FreezerError } from '../errors.ts';
import { movingFolders, type RunFolder } from '../run/folder.ts';

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

/** Copies what the machine has at these places. Throws `FreezerError` `unsupported` for a place that cannot be a volume. */
export async function makeVolumes(folder: RunFolder, places: readonly string[]): Promise<void> {
  for (const place of places) refuseImpossible(place, places);
  for (const place of places) {
    const directory = join(folder.files, folderName(place));
    const kind = await kindOf(place);
    if (kind === 'other') throw impossible(place, 'it is no folder on this machine');
    if (kind === 'missing') await mkdir(directory);
    else await execa('cp', ['--archive', '--no-target-directory', '--', place, directory]);
  }
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
 * Throws `FreezerError` `cannotRun` for a volume that cannot be mounted: the machine's folders are read-only for the job, so that
 * a place inside of one must be there. At the top level it is made.
 */
export async function requirePlaces(volumes: readonly Volume[]): Promise<void> {
  for (const { place } of volumes) {
    const top = join('/', place.split(sep)[1] ?? '');
    if ((await kindOf(place)) !== 'folder' && (await kindOf(top)) !== 'missing') {
      const what = `The job has a volume at ${place}, and this machine has no such folder.`;
      throw new FreezerError('cannotRun', what, `Make it: mkdir -p ${place}`);
    }
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
