import { describe, expect, it } from 'vitest';
import { RunRecord } from '../jobs/index.ts';
import { awayMs, lanesOf } from './timeline.ts';

function run(given: Partial<RunRecord>): RunRecord {
  return RunRecord.parse({
    epoch: 1,
    worker: 'a',
    startedAt: 0,
    endedAt: null,
    end: null,
    thawedFrom: null,
    passedOver: [],
    thawMs: null,
    logStart: { stdout: 0, stderr: 0 },
    checkpoints: 0,
    frozenMs: 0,
    bytesSent: 0,
    lostMs: 0,
    ...given,
  });
}

describe('lanesOf', () => {
  const runs = [
    run({ epoch: 1, worker: 'a', startedAt: 100, endedAt: 300, end: 'frozen' }),
    run({ epoch: 2, worker: 'b', startedAt: 400, endedAt: 600, end: 'crashed', thawMs: 50 }),
    run({ epoch: 3, worker: 'a', startedAt: 800, thawMs: 100 }),
  ];

  it('gives each worker one lane, with what its runs did where they did it', () => {
    const lanes = lanesOf(runs, 0, 1000).map(({ worker, bars }) => [
      worker,
      ...bars.map(({ kind, fromPercent, widthPercent }) => [kind, fromPercent, widthPercent]),
    ]);
    expect(lanes).toEqual([
      ['a', ['ran', 10, 20], ['thaw', 80, 10], ['ran', 90, 10]],
      ['b', ['thaw', 40, 5], ['crashed', 45, 15]],
    ]);
  });

  it('stays inside the picture when clocks disagree', () => {
    const bars = lanesOf([run({ startedAt: -50, endedAt: 5000 })], 0, 1000).flatMap((lane) => lane.bars);
    for (const bar of bars) {
      expect(bar.fromPercent).toBeGreaterThanOrEqual(0);
      expect(bar.widthPercent).toBeLessThanOrEqual(100);
    }
  });

  it('knows how long the job was with nobody', () => {
    expect(runs.map((_, at) => awayMs(runs, at))).toEqual([0, 100, 200]);
  });
});
