import { describe, expect, test } from 'vitest';
import type { CheckpointSummary } from '../freezer/runtime.ts';
import { padEpoch } from '../jobs/index.ts';
import { candidatesFor, cpuCovers } from './candidates.ts';
import type { Fence } from './fence.ts';

const id = (epoch: number, sequence: number) => `${padEpoch(epoch)}-${String(sequence).padStart(8, '0')}`;

const checkpoint = (epoch: number, sequence: number): CheckpointSummary => ({
  id: id(epoch, sequence),
  epoch,
  frozenAt: 0,
  memoryBytes: 0,
  fileBytes: 0,
  sentBytes: 0,
  logSizes: { stdout: 0, stderr: 0 },
  cpuFeatures: [],
  isEncrypted: false,
});

const fence = (epoch: number, thawsFrom: string | null = null): Fence => ({
  version: 1,
  epoch,
  worker: `worker-${epoch}`,
  thawsFrom,
  at: epoch,
});

const ids = (found: CheckpointSummary[]) => found.map((one) => one.id);

describe('candidatesFor', () => {
  test('a job that never ran has none', () => {
    expect(candidatesFor(1, [], [])).toEqual([]);
  });

  test('takes the newest of the run before, then its older ones', () => {
    const found = candidatesFor(2, [fence(1)], [checkpoint(1, 1), checkpoint(1, 2), checkpoint(1, 3)]);
    expect(ids(found)).toEqual([id(1, 3), id(1, 2), id(1, 1)]);
  });

  test('takes what the run before thawed when that run committed nothing itself', () => {
    const fences = [fence(1), fence(2, id(1, 2))];
    expect(ids(candidatesFor(3, fences, [checkpoint(1, 1), checkpoint(1, 2)]))).toEqual([id(1, 2), id(1, 1)]);
  });

  test('passes by what a stale run committed after a newer run began', () => {
    // Run 1 lost the job after its first checkpoint; run 2 thawed that one; run 1 then committed a second.
    const fences = [fence(1), fence(2, id(1, 1))];
    const found = candidatesFor(3, fences, [checkpoint(1, 1), checkpoint(1, 2), checkpoint(2, 1)]);
    expect(ids(found)).toEqual([id(2, 1), id(1, 1)]);
  });

  test('passes by a stale run whose fence came after a newer one', () => {
    // Run 2 hung between its claim and its fence. Run 3 began meanwhile, from run 1; run 2 then wrote what it liked.
    const fences = [fence(1), fence(3, id(1, 1)), fence(2, id(1, 1))];
    const found = candidatesFor(4, fences, [checkpoint(1, 1), checkpoint(2, 1), checkpoint(3, 1)]);
    expect(ids(found)).toEqual([id(3, 1), id(1, 1)]);
  });

  test('does not see fences of its own epoch or newer ones', () => {
    const fences = [fence(1), fence(2, id(1, 1)), fence(3)];
    expect(ids(candidatesFor(2, fences, [checkpoint(1, 1), checkpoint(2, 1), checkpoint(3, 1)]))).toEqual([id(1, 1)]);
  });

  test('a start from the beginning ends the history', () => {
    const fences = [fence(1), fence(2, null)];
    expect(candidatesFor(3, fences, [checkpoint(1, 1)])).toEqual([]);
  });

  test('walks back over many runs, also where a fence names one that is gone', () => {
    const fences = [fence(1), fence(2, id(1, 1)), fence(4, id(2, 1)), fence(7, id(4, 2))];
    const found = candidatesFor(9, fences, [checkpoint(1, 1), checkpoint(2, 1), checkpoint(4, 1)]);
    expect(ids(found)).toEqual([id(4, 1), id(2, 1), id(1, 1)]);
  });

  test('a fence that names a checkpoint of a later run, or nonsense, ends the walk instead of circling', () => {
    const found = candidatesFor(5, [fence(2, id(3, 1)), fence(3, id(2, 1))], [checkpoint(2, 1), checkpoint(3, 1)]);
    expect(ids(found)).toEqual([id(3, 1), id(2, 1)]);
    expect(candidatesFor(5, [fence(2, 'nonsense')], [checkpoint(1, 1)])).toEqual([]);
  });
});

describe('cpuCovers', () => {
  test('needs every feature', () => {
    expect(cpuCovers(['sse2', 'avx2'], ['sse2'])).toBe(true);
    expect(cpuCovers(['sse2'], ['sse2', 'avx512f'])).toBe(false);
    expect(cpuCovers([], [])).toBe(true);
  });
});
