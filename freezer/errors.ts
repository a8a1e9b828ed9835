/**
 * Why the checkpoint engine could not do something.
 * - `cannotRun`: this machine lacks what freezing needs; the message says what.
 * - `unsupported`: no machine can do what the job asks for: a user that its image does not know, a place that cannot be a volume.
 * - `notHere`: this machine lacks what the job asks for; another may have it: an engine, a GPU, enough processors.
 * - `imageNotFound`: no registry and no machine that was asked has the job's image.
 * - `cannotFreeze`: the job holds something that CRIU cannot dump; the message names it.
 * - `dumpFailed`, `restoreFailed`: CRIU failed; the message has its own last words.
 * - `storeFailed`: the checkpoint could not be written or read; `cause` is a `StoreError`.
 * - `diskFull`: the worker's own disk has no room for the job's files or images.
 * - `notFound`, `corrupt`, `wrongVersion`: a checkpoint that is not there, does not verify, or is of another format.
 * - `substituted`: something else lies where the checkpoint was: forged, another job's, or not encrypted where it was.
 * - `otherStore`: the checkpoint is authentic, and was written for another store or program.
 * - `wrongKey`: the checkpoint is encrypted, and the keys given here do not open it or cannot be used; the checkpoint is as it was.
 * - `cpuMismatch`: this CPU lacks features that the frozen program may use.
 * - `ended`: the job ended by itself before it could be frozen.
 * - `cancelled`: the caller's signal aborted.
 * - `failed`: an error of this machine's or a defect of Floe's, which the message tells; the program runs on.
 * - `lost`: the container went away in the middle.
 */
export type FreezerErrorCode =
  | 'cannotRun'
  | 'unsupported'
  | 'notHere'
  | 'imageNotFound'
  | 'cannotFreeze'
  | 'dumpFailed'
  | 'restoreFailed'
  | 'storeFailed'
  | 'diskFull'
  | 'notFound'
  | 'corrupt'
  | 'wrongVersion'
  | 'substituted'
  | 'otherStore'
  | 'wrongKey'
  | 'cpuMismatch'
  | 'ended'
  | 'failed'
  | 'cancelled'
  | 'lost';

export class FreezerError extends Error {
  override readonly name = 'FreezerError';
  readonly code: FreezerErrorCode;
  /** What the reader can do about it, one sentence. */
  readonly remedy: string;

  constructor(code: FreezerErrorCode, message: string, remedy: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** For work whose signal aborted, whatever it failed of then. */
export function cancelled(cause: unknown): FreezerError {
  return new FreezerError('cancelled', 'It was cancelled.', 'Nothing to do.', { cause });
}
