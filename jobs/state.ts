/**
 * The life of a job.
 *
 *   queued ──► running ──► succeeded | failed | cancelled
 *                 │  ▲
 *                 ▼  └────────────────────┐
 *              freezing ──► frozen ──► thawing
 *
 * - `queued`: waits for its first run, or for its next attempt.
 * - `running`: its program makes progress on a worker.
 * - `freezing`: its program stands still while a checkpoint is taken. It goes on `running` after a periodic one and
 *   becomes `frozen` when the machine goes away.
 * - `frozen`: back in the queue, in front, with a checkpoint to thaw: a restore task.
 * - `thawing`: a worker brings it back from its checkpoint.
 * - `succeeded`, `failed`, `cancelled`: for good.
 *
 * A worker that dies writes nothing: the job stays in its last state until the queue's lock expires, and
 * the next run moves it from there to `thawing` or `running`. States are written in one place, `record.ts`, and only by
 * the run that owns the job's epoch.
 */
import { z } from 'zod';

export const JobState = z.enum([
  'queued',
  'running',
  'freezing',
  'frozen',
  'thawing',
  'succeeded',
  'failed',
  'cancelled',
]);
export type JobState = z.output<typeof JobState>;

export function isFinal(state: JobState): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}
