import { expect, test } from 'vitest';
import { restMs } from './diskPace.ts';

const LIMITS = { bytes: 1000, files: 1000 };
const look = (at: number, bytes: number, files: number) => ({ at, bytes, files });

test('a job that does not grow is looked at a tenth of the time', () => {
  expect(restMs(5000, look(20_000, 10, 10), look(10_000, 10, 10), LIMITS)).toBe(50_000);
  expect(restMs(5000, look(20_000, 5, 5), look(10_000, 10, 10), LIMITS)).toBe(50_000);
});

// 400 in 10 s since the look before, and 400 are left.
test.each([
  ['bytes', look(10_000, 200, 10), look(20_000, 600, 10)],
  ['files', look(10_000, 10, 200), look(20_000, 10, 600)],
])('a job whose %s grow towards the limit is looked at again before it is there', (_, before, now) => {
  expect(restMs(1500, now, before, LIMITS)).toBe(5000);
});

test('no look follows sooner than after a second, and after as long as it took', () => {
  expect(restMs(10, look(2000, 999, 10), look(1000, 0, 10), LIMITS)).toBe(1000);
  expect(restMs(8000, look(20_000, 999, 10), look(10_000, 0, 10), LIMITS)).toBe(8000);
});

test('the second look comes soon, because the pace is not known before', () => {
  expect(restMs(3000, look(5000, 10, 10), null, LIMITS)).toBe(3000);
});
