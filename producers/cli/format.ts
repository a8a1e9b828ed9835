/** Numbers and tables as people read them. */
import { plain } from '../../base/terminal.ts';

export { plain };

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.5 GiB` */
export function formatBytes(sizeBytes: number): string {
  const exponent = Math.min(Math.floor(Math.log2(Math.max(1, sizeBytes)) / 10), UNITS.length - 1);
  const value = sizeBytes / 2 ** (10 * exponent);
  return `${exponent === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[exponent]}`;
}

/** `850 ms`, `12.3 s`, `4m 05s`, `2h 03m`, `3d 04h` */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(1)} s`;
  const minutes = Math.floor(durationMs / 60_000);
  const two = (value: number) => String(value).padStart(2, '0');
  if (minutes < 60) return `${minutes}m ${two(Math.floor(durationMs / 1000) % 60)}s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours}h ${two(minutes % 60)}m` : `${Math.floor(hours / 24)}d ${two(hours % 24)}h`;
}

/** `2026-01-31 14:05:09`, local time */
export function formatTime(at: number): string {
  const date = new Date(at);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * Rows under a heading, columns as wide as they must be. When that is wider than `width`, the column `elastic` is cut.
 */
export function formatTable(heading: readonly string[], rows: readonly string[][], width: number, elastic = 0): string {
  const all = [heading, ...rows.map((row) => row.map(plain))];
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const excess = widths.reduce((sum, each) => sum + each + 2, -2) - width;
  if (excess > 0) widths[elastic] = Math.max(8, (widths[elastic] ?? 0) - excess);
  const line = (row: readonly string[]) => row.map((cell, column) => pad(cell, widths[column] ?? 0)).join('  ');
  return `${all.map((row) => line(row).trimEnd()).join('\n')}\n`;
}

function pad(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width);
}

interface Exceptions {
  readonly count: number;
  readonly examples: readonly { readonly path: string; readonly reason: string }[];
}

/** `2 are left out or not as they were: a (pipe), b/c (changed)` */
export function describeExceptions({ count, examples }: Exceptions): string {
  const named = examples.map(({ path, reason }) => `${plain(path)} (${reason})`).join(', ');
  const more = count > examples.length ? `, and ${count - examples.length} more` : '';
  return `${count} left out or not as they were: ${named}${more}`;
}
