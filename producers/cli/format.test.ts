import { expect, it } from 'vitest';
import { formatBytes, formatDuration, formatTable } from './format.ts';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [200 * 2 ** 20, '200 MiB'],
  [64 * 2 ** 30, '64.0 GiB'],
  [3000 * 2 ** 40, '3000 TiB'],
])('%i bytes are %s', (sizeBytes, text) => {
  expect(formatBytes(sizeBytes)).toBe(text);
});

it.each([
  [0, '0 ms'],
  [12_340, '12.3 s'],
  [245_000, '4m 05s'],
  [7_380_000, '2h 03m'],
  [273_600_000, '3d 04h'],
])('%i ms are %s', (durationMs, text) => {
  expect(formatDuration(durationMs)).toBe(text);
});

it('fits a table to the terminal by cutting one column, and never an id', () => {
  const rows = [['default-k3v9x2m4qa', 'a very long name that somebody gave', 'running']];
  const lines = formatTable(['ID', 'NAME', 'STATE'], rows, 45, 1).trimEnd().split('\n');
  expect(lines[0]).toMatch(/^ID +NAME +STATE$/);
  expect(lines[1]).toMatch(/^default-k3v9x2m4qa {2}a very .*… {2}running$/);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(45);
  expect(formatTable(['ID', 'NAME', 'STATE'], rows, Number.POSITIVE_INFINITY, 1)).toContain('that somebody gave');
});

it('lets no name move the cursor', () => {
  expect(formatTable(['NAME'], [['evil\u001b[2Jname\n']], 80)).toBe('NAME\nevil\ufffd[2Jname\ufffd\n');
});
