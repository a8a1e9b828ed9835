import { describe, expect, it } from 'vitest';
import { formatAgo, formatCommand, formatDuration, formatProgress, formatSize, percentOf } from './format.ts';

describe('formatSize', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 20 - 1, '1.0 MiB'],
    [340 * 2 ** 20, '340 MiB'],
    [5e15, '4.4 PiB'],
    [5e18, '4441 PiB'],
  ])('%d bytes are %s', (sizeBytes, text) => expect(formatSize(sizeBytes)).toBe(text));
});

describe('formatDuration', () => {
  it.each([
    [-5, '0 ms'],
    [12.4, '12 ms'],
    [999.6, '1.0 s'],
    [3400, '3.4 s'],
    [9960, '10 s'],
    [59_600, '1 min'],
    [125_000, '2 min 5 s'],
    [3_600_000, '1 h'],
    [11_520_000, '3 h 12 min'],
    [90_000_000, '1 d 1 h'],
  ])('%d ms are %s', (durationMs, text) => expect(formatDuration(durationMs)).toBe(text));
});

describe('formatAgo', () => {
  it.each([
    [-5000, 'just now'],
    [999, 'just now'],
    [59_999, '59 s ago'],
    [7_300_000, '2 h ago'],
  ])('%d ms earlier is %s', (beforeMs, text) => expect(formatAgo(1e12 - beforeMs, 1e12)).toBe(text));
});

describe('progress', () => {
  it('leaves out what is not known', () => {
    const progress = { step: 'sending', doneBytes: 2048, totalBytes: null, bytesPerSecond: null, etaMs: null };
    expect(formatProgress(progress)).toBe('sending · 2.0 KiB');
    expect(percentOf(progress)).toBeNull();
  });

  it('says how far, how fast and how long', () => {
    const progress = { step: 'sending', doneBytes: 2 ** 29, totalBytes: 2 ** 30, bytesPerSecond: 2 ** 27, etaMs: 4000 };
    expect(formatProgress(progress)).toBe('sending · 512 MiB of 1.0 GiB · 128 MiB/s · 4.0 s left');
    expect(percentOf(progress)).toBe(50);
  });

  it('is complete when there was nothing to do, and never more than complete', () => {
    const base = { step: 'sending', bytesPerSecond: null, etaMs: null };
    expect(percentOf({ ...base, doneBytes: 0, totalBytes: 0 })).toBe(100);
    expect(percentOf({ ...base, doneBytes: 3, totalBytes: 2 })).toBe(100);
  });
});

describe('formatCommand', () => {
  it('quotes what a shell would split or expand', () => {
    expect(formatCommand(['xz', '-9', 'a b', "it's", '$HOME', ''])).toBe(`xz -9 'a b' 'it'\\''s' '$HOME' ''`);
  });
});
