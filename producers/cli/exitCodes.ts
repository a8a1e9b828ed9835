/** The CLI's exit codes: part of its interface, shown by `--help`. */
import type { FloeErrorCode } from '../../jobs/errors.ts';

/** Floe's own failures keep clear of the numbers that programs commonly end with, and of 128 + signal. */
export const EXIT = {
  internal: 120,
  usage: 121,
  notFound: 122,
  conflict: 123,
  redis: 124,
  store: 125,
  machine: 126,
  interrupted: 130,
} as const;

const BY_CODE: Record<FloeErrorCode, number> = {
  invalidJob: EXIT.usage,
  invalidOption: EXIT.usage,
  notFound: EXIT.notFound,
  conflict: EXIT.conflict,
  cannotFreeze: EXIT.conflict,
  redisUnreachable: EXIT.redis,
  redisRefused: EXIT.redis,
  storeFailed: EXIT.store,
  cannotRun: EXIT.machine,
  timedOut: EXIT.internal,
  crashBudget: EXIT.internal,
  lost: EXIT.internal,
  internal: EXIT.internal,
};

export function exitCodeOf(code: FloeErrorCode): number {
  return BY_CODE[code];
}

export const EXIT_CODES_HELP = `
Exit codes:
  0     done
  120   a defect of Floe's, or an error of this machine's (the message tells)
  121   wrong usage, or the job or an option is not valid
  122   no such job, worker or output
  123   cannot be done in the job's present state
  124   Redis cannot be reached, or refuses
  125   the store cannot be reached, or refuses
  126   this machine cannot run jobs
  130   interrupted; the job is not touched by that`;

export const JOB_EXIT_CODES_HELP = `${EXIT_CODES_HELP}
  Once the job has ended, the exit code is the job's own: 128 + signal if one killed it, 1 if Floe ended it
  (cancelled, timed out). A job may end with 120 to 126 itself; --json tells these apart.`;
