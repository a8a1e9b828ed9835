/** What a look at one thing has found. Checks say it by what they return: one that throws is a finding, too. */
import { FreezerError } from '../errors.ts';

/**
 * - `ok`: as it should be.
 * - `warn`: jobs run, but something that Floe offers does not work, or not well.
 * - `fail`: jobs do not run, or what they have done may get lost.
 */
export type FindingStatus = 'ok' | 'warn' | 'fail';

export interface Finding {
  /** `machine`, `store` or `redis`: what is to be mended. */
  readonly part: 'machine' | 'store' | 'redis';
  /** What was looked at, a few words. */
  readonly check: string;
  readonly status: FindingStatus;
  /** What was found, one sentence or a few words. */
  readonly found: string;
  /** What to do about it; null where there is nothing to do. */
  readonly remedy: string | null;
}

export type MachineFinding = Finding & { readonly part: 'machine' };

export function ok(check: string, found: string): MachineFinding {
  return { part: 'machine', check, status: 'ok', found, remedy: null };
}

export function bad(status: 'warn' | 'fail', check: string, found: string, remedy: string): MachineFinding {
  return { part: 'machine', check, status, found, remedy };
}

/** A check that throws reports that, so that one never hides what the others found. */
export async function orFailure(
  check: string,
  look: () => Promise<MachineFinding | readonly MachineFinding[]>,
): Promise<readonly MachineFinding[]> {
  try {
    return [await look()].flat();
  } catch (error) {
    if (error instanceof FreezerError) return [bad('fail', check, error.message, error.remedy)];
    const words = error instanceof Error ? error.message : String(error);
    return [
      bad(
        'fail',
        check,
        `It could not be looked at: ${words}`,
        'Run as root, and in no tighter a sandbox than the worker.',
      ),
    ];
  }
}
