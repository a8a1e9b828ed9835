/** A few of the hostile jobs of `npm run hostile`, beside honest ones: the README here says what a run that holds has shown. */
import { expect, test } from 'vitest';
import { attacks } from './cases/index.ts';
import { formatSummary, held } from './report.ts';
import { runHostile } from './run.ts';

test('hostile jobs read nothing, change nothing and end nobody, and honest jobs beside them are right', async ({
  signal,
}) => {
  const quick = attacks.filter(({ isQuick }) => isQuick === true);
  const runtimes = ['process', 'docker'] as const;
  const summary = await runHostile({ runtimes, attacks: quick, bucketAttacks: [], signal });
  expect(held(summary), formatSummary(summary)).toBe(true);
  expect(summary.tried.length).toBeGreaterThan(10);
  expect(
    summary.tried.filter(({ ending }) => ending === 'prevented'),
    'what could not be tried',
  ).toEqual([]);
}, 600_000);
