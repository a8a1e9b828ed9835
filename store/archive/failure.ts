import type { FailureCode } from './order.ts';

/** Trouble with the files or the archive, in words for the user. The parent turns it into a `StoreError`. */
export class ArchiveFailure extends Error {
  readonly code: FailureCode;
  readonly remedy: string;

  constructor(code: FailureCode, message: string, remedy: string) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
