import { expect, test } from 'vitest';
import { FreezeRate, FreezeTime, planFreezes } from './triage.ts';

const MIB = 2 ** 20;

test('without a deadline everything fits, most unsaved work for its time first', () => {
  const plan = planFreezes(
    [
      { jobId: 'slow-and-new', estimatedMs: 10_000, unsavedMs: 1000 },
      { jobId: 'quick-and-old', estimatedMs: 100, unsavedMs: 60_000 },
    ],
    null,
  );
  expect(plan).toEqual([
    { jobId: 'quick-and-old', fits: true },
    { jobId: 'slow-and-new', fits: true },
  ]);
});

test('a job too large for the time left does not keep smaller ones from being saved', () => {
  const plan = planFreezes(
    [
      { jobId: 'huge', estimatedMs: 1_000_000, unsavedMs: 1e12 },
      { jobId: 'one', estimatedMs: 3000, unsavedMs: 1000 },
      { jobId: 'two', estimatedMs: 3000, unsavedMs: 2000 },
    ],
    10_000,
  );
  expect(plan).toEqual([
    { jobId: 'two', fits: true },
    { jobId: 'one', fits: true },
    { jobId: 'huge', fits: false },
  ]);
});

test('the time that one freeze takes is gone for the next', () => {
  const job = (jobId: string, unsavedMs: number) => ({ jobId, estimatedMs: 6000, unsavedMs });
  const plan = planFreezes([job('a', 3), job('b', 2)], 10_000);
  expect(plan.map((freeze) => freeze.fits)).toEqual([true, false]);
});

test('a deadline that has passed leaves nothing that fits, and forgets no job', () => {
  const plan = planFreezes([{ jobId: 'a', estimatedMs: 1, unsavedMs: 1 }], -5);
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

test('increments, in which little of a job was sent, do not make the first checkpoint of another look quick', () => {
  const bytes = 10 * 1024 * MIB;
  const rate = new FreezeRate();
  const idle = new FreezeTime(rate);
  idle.measure({ bytes, tookMs: 100_000, isIncrement: false });
  for (let at = 0; at < 5; at++) idle.measure({ bytes, tookMs: 1000, isIncrement: true });
  expect(new FreezeTime(rate).estimateMs(bytes)).toBeCloseTo(100_000);
  expect(idle.estimateMs(bytes)).toBe(1000);
});

test('a job that changes all that it has is not taken for one that does not', () => {
  const rate = new FreezeRate();
  const [idle, busy] = [new FreezeTime(rate), new FreezeTime(rate)];
  busy.measure({ bytes: 100 * MIB, tookMs: 1500, isIncrement: true });
  idle.measure({ bytes: 100 * MIB, tookMs: 10, isIncrement: true });
  expect(busy.estimateMs(100 * MIB)).toBe(1500);
});
