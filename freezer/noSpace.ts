const CODES: unknown[] = ['ENOSPC', 'EDQUOT'];

/** Whether a file system says by this error that it has no room. */
export function isNoSpace(error: unknown): boolean {
  return error instanceof Error && 'code' in error && CODES.includes(error.code);
}
