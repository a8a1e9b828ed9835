/** Numbers as people read them. */
import type { CheckpointSummary, StepProgress } from '../runtime.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.5 GiB` */
export function formatBytes(sizeBytes: number): string {
  const exponent = Math.min(Math.floor(Math.log2(Math.max(1, sizeBytes)) / 10), UNITS.length - 1);
  const value = sizeBytes / 2 ** (10 * exponent);
  return `${exponent === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[exponent]}`;
}

/** `850 ms`, `12.3 s` */
export function formatDuration(durationMs: number): string {
  return durationMs < 1000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(1)} s`;
}

/** `2026-01-31 14:05:09 UTC` */
export function formatTime(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** Memory and files together. */
export function sizeOf({ memoryBytes, fileBytes }: CheckpointSummary): string {
  return formatBytes(memoryBytes + fileBytes);
}

/** `sending 12 MiB`, `fetching 3.0 MiB of 90 MiB` */
export function describeStep({ step, doneBytes, totalBytes }: StepProgress): string {
  const total = totalBytes === null ? '' : ` of ${formatBytes(totalBytes)}`;
  return doneBytes === 0 && totalBytes === null ? step : `${step} ${formatBytes(doneBytes)}${total}`;
}

/** As somebody would type it. */
export function quoted(command: readonly string[]): string {
  return command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}
