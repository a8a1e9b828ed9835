/** How a job ended: one create-only object in the store, repeated as the BullMQ job's return value. */
import { z } from 'zod';

/** How the program ended by itself: an exit code, or the number of the signal that killed it. */
export const ProgramEnd = z.strictObject({ exitCode: z.int().nullable(), signal: z.int().nullable() });
export type ProgramEnd = z.output<typeof ProgramEnd>;

const Kept = z.strictObject({ key: z.string(), sizeBytes: z.int() });

export const JobResult = z.strictObject({
  version: z.literal(1),
  jobId: z.string(),
  outcome: z.enum(['succeeded', 'failed', 'cancelled']),
  /** Null when the program did not end by itself: cancelled, timed out, out of crash budget. */
  end: ProgramEnd.nullable(),
  /** Why, when it is not the program's own end, when the program went beyond its memory or disk or never ran, or when its outputs cannot be read: a stable code and a sentence. */
  reason: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  /** The run that ended it. */
  epoch: z.int(),
  worker: z.string(),
  finishedAt: z.iso.datetime(),
  /** One `tar.zst` of what `outputs` names; `unmatched` are the entries that named nothing. */
  outputs: Kept.extend({
    /** Of the object. Results of older versions have none. */
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .optional(),
    files: z.int(),
    unmatched: z.array(z.string()),
    /** Files that are not in it, or not as they were: all are counted, the first are named. None where there is none. */
    exceptions: z
      .strictObject({ count: z.int(), examples: z.array(z.strictObject({ path: z.string(), reason: z.string() })) })
      .optional(),
  }).nullable(),
  logs: z.strictObject({ stdout: Kept, stderr: Kept }).nullable(),
  /** Its checkpoints stay although it has ended. */
  checkpointsKept: z.literal(true).optional(),
});
export type JobResult = z.output<typeof JobResult>;

/** The exit status that a shell would show: the program's, 128 + signal, or 1 when it did not end by itself. */
export function exitStatusOf(result: Pick<JobResult, 'outcome' | 'end'>): number {
  if (result.end?.signal != null) return 128 + result.end.signal;
  return result.end?.exitCode || (result.outcome === 'succeeded' ? 0 : 1);
}
