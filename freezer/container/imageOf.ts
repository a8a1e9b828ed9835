/** Which image a job runs in. */
import { FreezerError } from '../errors.ts';
import type { Program } from '../runtime.ts';
import { digestOf } from './image.ts';

/** Throws `FreezerError` `unsupported` for a job without one. */
export function imageOf(program: Program): string {
  if (program.image !== undefined) return program.image;
  throw new FreezerError('unsupported', 'The job names no image.', 'Submit it with one.');
}

/**
 * That of the checkpoint, which somebody else may have written. Throws `FreezerError` `corrupt` for one that is no digest, or not
 * the one that the job is known to run in.
 */
export function imageOfThaw(recorded: string | null, program: Program): string {
  if (recorded === null) return imageOf(program);
  const digest = digestOf(recorded);
  const known = digestOf(program.image ?? '');
  const remedy = 'Floe falls back to the checkpoint before it. Find out who else can write to the store.';
  if (digest === null)
    throw new FreezerError('corrupt', `The checkpoint names an image without a digest: ${recorded}.`, remedy);
  if (known === null || known === digest) return recorded;
  const what = `The checkpoint is of another image than the job: ${recorded}, and not ${program.image}.`;
  throw new FreezerError('corrupt', what, remedy);
}
