/**
 * How large a job may be. A job beyond these bounds could never start, or would cost everybody else more than its own work:
 * the kernel takes arguments of a certain size only, Redis holds every spec in memory, and timers have a range.
 */
import { z } from 'zod';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const DAY_MS = 86_400_000;

/** The kernel's MAX_ARG_STRLEN for one argument or one `NAME=value`, without the NUL at its end. */
export const LONGEST_WORD_BYTES = 128 * KIB - 1;
/** Of command and environment together. The kernel takes a quarter of the stack's limit, 2 MiB of the usual 8 MiB. */
export const COMMAND_BYTES = MIB;
/** For each word of them the kernel keeps an address and a NUL as well, and they count. */
const WORD_COST_BYTES = 9;
/** Of the whole spec, as JSON. */
export const SPEC_BYTES = 2 * MIB;
/** The kernel's PATH_MAX and NAME_MAX. */
const LONGEST_PATH_BYTES = 4095;
const LONGEST_NAME_BYTES = 255;

export const bounds = {
  volumes: 50,
  outputs: 1000,
  userLength: 200,
  /** Of one job; more than the largest machine has. */
  cpus: { min: 0.01, max: 4096 },
  /** Linux has no more process ids. */
  processes: 4_194_304,
  /** Floe's own part of a run's files takes some of it. */
  minDiskBytes: 16 * MIB,
  attempts: 1000,
  crashBudget: 100,
  /** BullMQ's delays are part of a score, which has less room than a number. */
  backoffMs: 30 * DAY_MS,
  durationMs: 3650 * DAY_MS,
} as const;

/** A text that a program or the kernel takes: there a NUL is the end. */
export const Word = z
  .string()
  .refine((text) => !text.includes('\0'), 'must not have a NUL character')
  .refine((text) => bytesOf(text) <= LONGEST_WORD_BYTES, `must have at most ${LONGEST_WORD_BYTES} bytes`);

export const LimitedPath = z
  .string()
  .refine((path) => !path.includes('\0'), 'must not have a NUL character')
  .refine((path) => bytesOf(path) <= LONGEST_PATH_BYTES, `must have at most ${LONGEST_PATH_BYTES} bytes`);

/** A path whose names are names of files: no glob. */
export const NamedPath = LimitedPath.refine(
  (path) => path.split('/').every((name) => bytesOf(name) <= LONGEST_NAME_BYTES),
  `must have names of at most ${LONGEST_NAME_BYTES} bytes`,
);

/** A time that a job may be given, in ms. */
export const Duration = z.int().min(0).max(bounds.durationMs);

/** What the kernel counts of a command and its environment. */
export function commandBytes(command: readonly string[], env: Readonly<Record<string, string>>): number {
  const words = [...command, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  return words.reduce((sum, word) => sum + bytesOf(word) + WORD_COST_BYTES, 0);
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}
