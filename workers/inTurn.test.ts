import pLimit from 'p-limit';
import { expect, test, vi } from 'vitest';
import { inTurn } from './inTurn.ts';

test('a wait ends with its signal, and the work is never done; work that has begun is waited for', async () => {
  const limit = pLimit(1);
  const first = Promise.withResolvers<string>();
  const begun = new AbortController();
  const hasBegun = Promise.withResolvers<void>();
  const done = inTurn(limit, begun.signal, () => {
    hasBegun.resolve();
    return first.promise;
  });
  const waiting = new AbortController();
  const work = vi.fn(async () => 'second');
  const turn = inTurn(limit, waiting.signal, work);
  await hasBegun.promise;
  begun.abort();
  waiting.abort(new Error('cancelled'));
  await expect(turn).rejects.toThrow('cancelled');
  first.resolve('first');
  expect(await done).toBe('first');
  expect(await inTurn(limit, new AbortController().signal, async () => 'third')).toBe('third');
  expect(work).not.toHaveBeenCalled();
});

test('what the work throws is thrown', async () => {
  const failing = inTurn(pLimit(1), new AbortController().signal, () => Promise.reject(new Error('no')));
  await expect(failing).rejects.toThrow('no');
});
