import { expect, it } from 'vitest';
import { exitStatusOf } from './result.ts';

it.each([
  ['succeeded', { exitCode: 0, signal: null }, 0],
  ['failed', { exitCode: 3, signal: null }, 3],
  ['failed', { exitCode: 0, signal: null }, 1],
  ['failed', { exitCode: null, signal: 15 }, 143],
  ['cancelled', null, 1],
  ['failed', null, 1],
] as const)('%s %j → %i', (outcome, end, status) => {
  expect(exitStatusOf({ outcome, end })).toBe(status);
});
