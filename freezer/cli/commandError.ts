/** Errors of the command line itself; all others are `FreezerError` and `StoreError`. */

/**
 * - `usage`: what somebody typed cannot be done.
 * - `notRunning`: there is no `freezer start` to talk to.
 * - `conflict`: another `freezer start` stands in the way: it has the name, or has taken the program over.
 * - `interrupted`: a signal ended it before the program ran, or a second Ctrl-C while it was frozen.
 * - `notCopied`: the program has ended, and what it has written could not be copied back.
 */
export type CommandErrorCode = 'usage' | 'notRunning' | 'conflict' | 'interrupted' | 'notCopied';

export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly code: CommandErrorCode;
  /** What the reader can do about it, one sentence. */
  readonly remedy: string;

  constructor(code: CommandErrorCode, message: string, remedy: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}
