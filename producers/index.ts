/** The producer API of Floe. */
export { FloeError, type FloeErrorCode } from '../jobs/errors.ts';
export type { JobEvent } from '../jobs/events.ts';
export type { WorkerDescription } from '../jobs/fleet.ts';
export type { LogEntry, LogStream } from '../jobs/log.ts';
export type { JobRecord, Progress, RunRecord } from '../jobs/record.ts';
export { exitStatusOf, type JobResult } from '../jobs/result.ts';
export { type JobSpec, type JobSpecInput, parseJobSpec } from '../jobs/spec.ts';
export { isFinal, type JobState } from '../jobs/state.ts';
export type { Cancellation } from './cancel.ts';
export { Floe, type FloeOptions, type ListOptions } from './floe.ts';
export type { CommittedCheckpoint } from './follow.ts';
export type { LogOptions } from './logs.ts';
export type { Submission, SubmitOptions } from './submit.ts';
export type { JobSummary, JobView } from './view.ts';
