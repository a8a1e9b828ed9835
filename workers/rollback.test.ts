/** Whether an older state of the store is told from what Redis knows. */
import { expect, test } from 'vitest';
import type { CheckpointSummary } from '../freezer/runtime.ts';
import type { Fence } from './fence.ts';
import { missingFence, notGivenUp } from './rollback.ts';

const found = (epochs: number[], refused: [number, string][] = []) => ({
  fences: epochs.map((epoch) => ({ epoch }) as Fence),
  refused: new Map(refused),
});
const known = (lastRun: number | null, checkpoint: string | null = null) => ({
  epoch: 7,
  checkpoint,
  lastRun: lastRun === null ? null : { epoch: lastRun },
});

test('the fence of the last run must be there, and authentic', () => {
  expect(missingFence(known(6), found([7, 6, 5]))).toBeNull();
  expect(missingFence(known(6), found([6]))).toBeNull();
  expect(missingFence(known(6), found([7, 5]))).toBe('The fence of run 6, the last one, is gone.');
  expect(missingFence(known(6), found([]))).toMatch('is gone');
  expect(missingFence(known(6), found([5], [[6, 'it is not signed']]))).toMatch('is not authentic: it is not signed');
});

test('a job that never ran has none, and one that Redis knows less of than the store may have lost it', () => {
  expect(missingFence(known(null), found([]))).toBeNull();
  expect(missingFence(known(6), found([9, 8]))).toBeNull();
});

test('what a run gave up that started afresh is not taken up again', () => {
  const checkpoints = [5, 6].map((epoch) => ({ epoch }) as CheckpointSummary);
  expect(notGivenUp(known(6), checkpoints)).toEqual([{ epoch: 6 }]);
  expect(notGivenUp(known(6, '00000005-000001'), checkpoints)).toEqual(checkpoints);
  expect(notGivenUp(known(null), checkpoints)).toEqual(checkpoints);
});
