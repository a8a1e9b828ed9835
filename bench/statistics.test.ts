import { expect, test } from 'vitest';
import { fitLine, median } from './statistics.ts';

test('the median is the one in the middle, whatever the order, and of two the mean', () => {
  expect(median([100, 1, 3])).toBe(3);
  expect(median([10, 1, 3, 2])).toBe(2.5);
  expect(median([7])).toBe(7);
  expect(() => median([])).toThrow(RangeError);
});

test('a line through points that lie on one', () => {
  const line = fitLine([
    [0.25, 600],
    [1, 900],
    [4, 2100],
  ]);
  expect(line?.slope).toBeCloseTo(400);
  expect(line?.intercept).toBeCloseTo(500);
  expect(line?.r2).toBeCloseTo(1);
});

test('the nearest line where they do not', () => {
  // Worked out by hand: mean (2, 3), slope 2/4 = 0.5.
  const line = fitLine([
    [1, 2],
    [2, 4],
    [3, 3],
    [2, 3],
  ]);
  expect(line?.slope).toBeCloseTo(0.5);
  expect(line?.intercept).toBeCloseTo(2);
  expect(line?.r2).toBeCloseTo(0.25);
});

test('there is no line through points that are all above each other', () => {
  expect(fitLine([])).toBeNull();
  expect(fitLine([[1, 2]])).toBeNull();
  expect(
    fitLine([
      [1, 2],
      [1, 3],
    ]),
  ).toBeNull();
});
