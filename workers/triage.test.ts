import { expect, test } from 'vitest';
import { FreezeRate, planFreezes } from './triage.ts';

const MIB = 2 ** 20;
const limits = (remainingMs: number | null) => ({ bytesPerSecond: 100 * MIB, remainingMs });

test('without a deadline everything fits, most unsaved work per byte first', () => {
  const plan = planFreezes(
    [
      { jobId: 'big-and-new', estimatedBytes: 1000 * MIB, unsavedMs: 1000 },
      { jobId: 'small-and-old', estimatedBytes: 10 * MIB, unsavedMs: 60_000 },
    ],
    limits(null),
  );
  expect(plan).toEqual([
    { jobId: 'small-and-old', fits: true },
    { jobId: 'big-and-new', fits: true },
  ]);
});

test('a job too large for the time left does not keep smaller ones from being saved', () => {
  const plan = planFreezes(
    [
      { jobId: 'huge', estimatedBytes: 100_000 * MIB, unsavedMs: 1e12 },
      { jobId: 'one', estimatedBytes: 300 * MIB, unsavedMs: 1000 },
      { jobId: 'two', estimatedBytes: 300 * MIB, unsavedMs: 2000 },
    ],
    limits(10_000),
  );
  expect(plan).toEqual([
    { jobId: 'two', fits: true },
    { jobId: 'one', fits: true },
    { jobId: 'huge', fits: false },
  ]);
});

test('the time that one freeze takes is gone for the next', () => {
  const job = (jobId: string, unsavedMs: number) => ({ jobId, estimatedBytes: 600 * MIB, unsavedMs });
  const plan = planFreezes([job('a', 3), job('b', 2)], limits(10_000));
  expect(plan.map((freeze) => freeze.fits)).toEqual([true, false]);
});

test('a deadline that has passed leaves nothing that fits, and forgets no job', () => {
  const plan = planFreezes([{ jobId: 'a', estimatedBytes: 1, unsavedMs: 1 }], limits(-5));
  expect(plan).toEqual([{ jobId: 'a', fits: false }]);
});

test('the first measurement replaces the assumption, later ones are averaged, nonsense is ignored', () => {
  const rate = new FreezeRate();
  rate.measure(200 * MIB, 1000);
  expect(rate.bytesPerSecond).toBe(200 * MIB);
  rate.measure(100 * MIB, 1000);
  expect(rate.bytesPerSecond).toBe(150 * MIB);
  rate.measure(0, 0);
  expect(rate.bytesPerSecond).toBe(150 * MIB);
});
