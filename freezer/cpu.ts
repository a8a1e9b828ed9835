/** What instructions this CPU has, as far as a frozen program may have come to rely on them. */
import { readFile } from 'node:fs/promises';

// libc and numeric libraries choose code paths by these at start and keep to them: missing ones are a SIGILL after the move.
const CHOSEN_BY_PROGRAMS =
  /^(sse|ssse|avx|amx|bmi|fma|f16c|aes|vaes|sha|vpclmul|pclmul|gfni|movbe|popcnt|abm|adx|rdrand|rdseed|xsave(?!erptr)|fsgsbase|pku|asimd|sve|sme(?!p)|atomics|crc32|pmull|fp|bf16|i8mm)/;

/** Sorted names as in /proc/cpuinfo (`flags` on x86_64, `Features` on arm64). */
export async function readCpuFeatures(): Promise<string[]> {
  const text = await readFile('/proc/cpuinfo', 'utf8');
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1] ?? '';
  return line
    .split(/\s+/)
    .filter((name) => CHOSEN_BY_PROGRAMS.test(name))
    .sort();
}

/** The features that `needed` has and `present` lacks. */
export function missingFeatures(needed: readonly string[], present: readonly string[]): string[] {
  const there = new Set(present);
  return needed.filter((name) => !there.has(name));
}
