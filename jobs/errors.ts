/**
 * Stable codes of everything that can go wrong between a user and a job. The CLI's exit codes and the HTTP API's status
 * codes are derived from them, so a code never changes its meaning.
 * - `invalidJob`, `invalidOption`: the input is wrong; the message names the field and the value received.
 * - `notFound`: no such job, worker, checkpoint or output.
 * - `conflict`: it cannot be done in the job's present state.
 * - `redisUnreachable`, `redisRefused`: no answer, or wrong credentials.
 * - `storeFailed`: the store refused or could not be reached; `cause` is a `StoreError`.
 * - `cannotFreeze`: the job holds something that CRIU cannot dump; the message names it.
 * - `cannotRun`: this machine cannot run jobs (no CRIU, too old a kernel, a missing capability).
 * - `timedOut`: the job ran longer than its `timeoutMs`.
 * - `crashBudget`: the job's workers died more often than its `crashBudget` allows.
 * - `lost`: another worker owns the job by now; this one must stop.
 * - `internal`: a defect of Floe's.
 */
export type FloeErrorCode =
  | 'invalidJob'
  | 'invalidOption'
  | 'notFound'
  | 'conflict'
  | 'redisUnreachable'
  | 'redisRefused'
  | 'storeFailed'
  | 'cannotFreeze'
  | 'cannotRun'
  | 'timedOut'
  | 'crashBudget'
  | 'lost'
  | 'internal';

export class FloeError extends Error {
  override readonly name = 'FloeError';
  readonly code: FloeErrorCode;
  /** What the reader can do about it, one sentence. */
  readonly remedy: string;

  constructor(code: FloeErrorCode, message: string, remedy: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}
