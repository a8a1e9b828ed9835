/** Why a job cannot be restored here, when it has a file of a machine open that jobs of this worker do not see. */
import { isWithin } from '../agent/mountPoints.ts';
import { FreezerError } from '../errors.ts';
import { shownFolders } from './hostFiles.ts';
import type { MachineAccess } from './machineAccess.ts';

/** Of CRIU's words; the path has no slash in front. */
const NOT_FOUND = /Can't open file (\S.*?) on restore: No such file or directory/;
/** What moves with a job, or is given to it at each thaw. */
const OWN = ['/workspace', '/tmp', '/dev', '/proc', '/floe', '/run'];

/**
 * `notHere`, which keeps the checkpoint and lets the job wait: its operator can show the file, or another worker does. The error itself
 * where it is about anything else. `volumes`: places of the job's own.
 */
export async function explainUnseen(
  error: unknown,
  access: MachineAccess,
  volumes: readonly string[],
): Promise<unknown> {
  if (!(error instanceof FreezerError && error.code === 'restoreFailed') || access.readablePaths === 'all')
    return error;
  const name = NOT_FOUND.exec(error.message)?.[1];
  if (name === undefined) return error;
  const path = `/${name.replace(/^\/+/, '')}`;
  const places = [...OWN, ...volumes, ...(await shownFolders(access))];
  if (places.some((place) => isWithin(path, place))) return error;
  return new FreezerError(
    'notHere',
    `The job has ${path} open, and jobs of this worker do not see it.`,
    'Name its folder in FLOE_READABLE_PATHS (worker.readablePaths) of the workers that have it.',
    { cause: error },
  );
}
