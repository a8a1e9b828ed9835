/**
 * What is mounted into a container, and the proof that it is in its place.
 *
 * An engine follows symbolic links when it looks for the place of a mount, and whoever made the image, the job's input or the job's
 * checkpoint can put links there. A link could lead a volume over Floe's toolbox. So the container's first program is
 * `check-mounts` (agent/native/checkMounts.c), mounted at a name in the root folder that nobody can guess. It compares each place with
 * what the worker says of it on the command line, and ends the container unless all are right. Nothing of the image's runs before.
 */
import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { places } from '../agent/protocol.ts';
import type { RunFolder } from '../run/folder.ts';
import { CRIU_KERNEL_FOLDER, TOOLBOX_IN_CONTAINER } from '../toolbox.ts';
import type { Bundle } from './bundle.ts';

/** A folder of this machine's in a container. */
export interface Mount {
  /** Of this machine. */
  readonly folder: string;
  /** The volume of the engine's that is a name for the folder. Default none. */
  readonly volume?: string;
  /** In the container; absolute. */
  readonly target: string;
  /** Default false. */
  readonly isReadOnly?: boolean;
  /** Refused where the engine does not see the folder, instead of being made there, empty. Default false. */
  readonly mustExist?: boolean;
}

export const FLOE_IN_CONTAINER = '/floe';
export const FREEZER_IN_CONTAINER = '/floe/freezer';

interface Places {
  readonly folder: RunFolder;
  readonly bundle: Bundle;
  readonly mounts: readonly Mount[];
}

/** What every container has, and `mounts` after that. */
export function allMounts({ folder, bundle, mounts }: Places): Mount[] {
  return [
    // As a mount of its own it cannot be renamed, and another put in its place.
    { folder: folder.floe, target: FLOE_IN_CONTAINER },
    { folder: bundle.toolbox, target: TOOLBOX_IN_CONTAINER, isReadOnly: true },
    { folder: bundle.freezer, target: FREEZER_IN_CONTAINER, isReadOnly: true },
    { folder: folder.images, target: places.images, mustExist: true },
    { folder: folder.common, target: places.common, mustExist: true },
    { folder: folder.control, target: places.control },
    ...mounts,
  ];
}

/** A new one for each container: an image whose maker knew it could have a link there. */
export function newEntrance(): string {
  return `/floe-${randomBytes(16).toString('hex')}`;
}

/** What `check-mounts` is to find, as its arguments. The folders must be there. */
export async function expectations(mounts: readonly Mount[]): Promise<string[]> {
  const folders = mounts.map(async ({ folder, target, isReadOnly }) => {
    const { dev, ino } = await stat(folder, { bigint: true });
    return `${target}=${dev}:${ino}${isReadOnly ? ':ro' : ''}`;
  });
  return [...(await Promise.all(folders)), `${CRIU_KERNEL_FOLDER}=tmpfs`];
}

/** The engine's options for mounts, and for the entrance. */
export function mountOptions(mounts: readonly Mount[], entrance: string, bundle: Bundle): string[] {
  return [
    ...mounts.flatMap(({ folder, volume, target, isReadOnly, mustExist }) =>
      mustExist
        ? bind(folder, target, isReadOnly ? ',readonly' : '')
        : ['--volume', `${volume ?? folder}:${target}${isReadOnly ? ':ro' : ''}`],
    ),
    ...['--tmpfs', `${CRIU_KERNEL_FOLDER}:size=${KERNEL_FOLDER_BYTES}`],
    ...bind(join(bundle.toolbox, 'bin/check-mounts'), entrance, ',readonly'),
  ];
}

/** CRIU's notes take some kilobytes. */
const KERNEL_FOLDER_BYTES = 4 * 2 ** 20;

/** The option's value is a line of CSV. */
function bind(source: string, target: string, more = ''): string[] {
  return ['--mount', `type=bind,"source=${source.replaceAll('"', '""')}",target=${target}${more}`];
}
