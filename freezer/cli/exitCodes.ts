/** The exit codes of `freezer`: part of its interface, shown by `--help`. */
import type { FreezerErrorCode } from '../errors.ts';

/** Freezer's own failures keep clear of the numbers that programs commonly end with, and of 128 + signal. */
export const EXIT = {
  /** sysexits.h calls it EX_TEMPFAIL: try again later. Not 0, or a supervisor would take the program for finished. */
  frozen: 75,
  internal: 120,
  usage: 121,
  notFound: 122,
  conflict: 123,
  store: 125,
  machine: 126,
  interrupted: 130,
} as const;

const BY_CODE: Record<FreezerErrorCode, number> = {
  cannotRun: EXIT.machine,
  unsupported: EXIT.usage,
  notHere: EXIT.machine,
  cannotFreeze: EXIT.conflict,
  dumpFailed: EXIT.internal,
  restoreFailed: EXIT.internal,
  storeFailed: EXIT.store,
  diskFull: EXIT.machine,
  notFound: EXIT.notFound,
  imageNotFound: EXIT.usage,
  corrupt: EXIT.store,
  wrongVersion: EXIT.conflict,
  substituted: EXIT.store,
  otherStore: EXIT.store,
  wrongKey: EXIT.machine,
  cpuMismatch: EXIT.machine,
  ended: EXIT.conflict,
  failed: EXIT.internal,
  cancelled: EXIT.interrupted,
  lost: EXIT.internal,
};

export function exitCodeOf(code: FreezerErrorCode): number {
  return BY_CODE[code];
}

export const EXIT_CODES_HELP = `
Exit codes:
  0     done
  75    start: the program is frozen; the next start continues it
  120   a defect of freezer's, or the program could not be frozen, thawed or went away (the message tells)
  121   wrong usage
  122   nothing is running here, or there is no such thing
  123   cannot be done now: somebody else runs the program, or it holds what cannot be frozen
  125   the store cannot be reached, refuses, or what it holds is damaged
  126   this machine cannot run, freeze or thaw programs; or what one has written could not be copied back (the message tells
        where it is kept)
  130   interrupted by a second Ctrl-C, or before the program ran; checkpoints that were there still are
  Once the program has ended by itself, start ends as it did: its exit code, or 128 + signal.`;
