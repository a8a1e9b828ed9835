/** The BullMQ side of the contract: one queue per pool, and what a queued job carries. */
import { type ConnectionOptions, type JobsOptions, Queue } from 'bullmq';
import { z } from 'zod';
import { QUEUE_PREFIX } from './names.ts';
import { FINISHED_KEPT_MS } from './record.ts';
import { JobSpec } from './spec.ts';

export const JobData = z.object({
  spec: JobSpec,
  /** The workspace as it was submitted, a `tar.zst` in the store. */
  input: z
    .object({
      key: z.string(),
      sizeBytes: z.int(),
      /** Of the object, so that no other takes its place. Jobs of versions before this field have none, and take what is there. */
      sha256: z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .optional(),
    })
    .nullable(),
  submittedAt: z.int(),
});
export type JobData = z.output<typeof JobData>;

export function openQueue(pool: string, connection: ConnectionOptions): Queue<JobData> {
  return new Queue<JobData>(pool, { connection, prefix: QUEUE_PREFIX });
}

/** BullMQ counts priorities downwards from 1, with 0 in front of all; ours count upwards from 0. */
const HIGHEST = 1001;

/** A finished job stays listed as long as its record is kept. */
export function queueOptions(id: string, spec: JobSpec): JobsOptions {
  const keep = { age: FINISHED_KEPT_MS / 1000, count: 10_000 };
  return {
    jobId: id,
    priority: HIGHEST - spec.priority,
    attempts: spec.attempts,
    backoff: { type: 'fixed', delay: spec.backoffMs },
    removeOnComplete: keep,
    removeOnFail: keep,
  };
}

/** The name that lists show: the spec's own, or the program's. */
export function displayName(spec: JobSpec): string {
  return spec.name ?? (spec.command[0] ?? spec.image ?? '').split('/').at(-1) ?? '';
}
