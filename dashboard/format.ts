/** Sizes, times and steps as people read them. */
import type { Progress } from '../jobs/index.ts';

const SIZE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `0 B`, `1.5 KiB`, `340 MiB`: three digits at most, but never less than whole bytes. */
export function formatSize(sizeBytes: number): string {
  let size = sizeBytes;
  let unit = 0;
  while (size >= 999.5 && unit < SIZE_UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || size >= 99.95 ? 0 : 1;
  return `${size.toFixed(digits)} ${SIZE_UNITS[unit]}`;
}

/** `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 12 min`, `4 d 1 h`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, durationMs);
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return twoUnits(seconds, 60, 'min', 1, 's');
  if (seconds < 86_400) return twoUnits(seconds, 3600, 'h', 60, 'min');
  return twoUnits(seconds, 86_400, 'd', 3600, 'h');
}

function twoUnits(seconds: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${largeName}${rest > 0 ? ` ${rest} ${smallName}` : ''}`;
}

const AGO_UNITS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
] as const;

/** `just now`, `12 s ago`, `3 h ago`: one unit, rounded down. */
export function formatAgo(at: number, now: number): string {
  const unit = AGO_UNITS.find(([unitMs]) => now - at >= unitMs);
  return unit ? `${Math.floor((now - at) / unit[0])} ${unit[1]} ago` : 'just now';
}

/** `2031-05-04 13:07:55 UTC`. */
export function formatTime(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').replace(/\..*/, ' UTC');
}

/** How much of a step is done, 0 to 100; null where its size is not known. */
export function percentOf(progress: Progress): number | null {
  if (progress.totalBytes === null) return null;
  if (progress.totalBytes === 0) return 100;
  return Math.min(100, Math.round((100 * progress.doneBytes) / progress.totalBytes));
}

/** `sending · 1.2 GiB of 3.0 GiB · 120 MiB/s · 15 s left`. */
export function formatProgress(progress: Progress): string {
  const { step, doneBytes, totalBytes, bytesPerSecond, etaMs } = progress;
  const size = totalBytes === null ? formatSize(doneBytes) : `${formatSize(doneBytes)} of ${formatSize(totalBytes)}`;
  const rate = bytesPerSecond === null ? [] : [`${formatSize(bytesPerSecond)}/s`];
  const left = etaMs === null ? [] : [`${formatDuration(etaMs)} left`];
  return [step, size, ...rate, ...left].join(' · ');
}

/** Program and arguments, quoted where a shell would need it. For reading; nothing runs it. */
export function formatCommand(command: readonly string[]): string {
  return command
    .map((word) => (/^[\w@%+=:,./•-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}
