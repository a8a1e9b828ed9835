/** A job that was interrupted does not queue up again behind those that came after it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Cluster } from './support/cluster.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.open();
});
afterEach(() => cluster[Symbol.asyncDispose]());

test('it overtakes twenty that wait, of whatever priority, and counts no attempt', async () => {
  const one = await cluster.worker('one');
  const id = await cluster.floe.submit({ command: ['sleep', '1000'], priority: 1, attempts: 2 });
  // Its record says `running` before its program runs: who leaves in between gives it back with nothing to freeze.
  await cluster.untilEvent(id, 'started');
  const waiting = await cluster.floe.submitBulk(
    Array.from({ length: 20 }, (_, at) => ({
      spec: { command: ['sleep', '1000'], priority: [0, 1, 500, 1000][at % 4] ?? 0 },
    })),
  );
  await one.interrupt();
  expect(await cluster.floe.get(id)).toMatchObject({ state: 'frozen', worker: null });

  await cluster.worker('two');
  await cluster.untilEvent(id, 'thawed');
  await cluster.until(id, { state: 'running', worker: 'two', failures: 0, crashes: 0 });
  expect(await cluster.attemptsMade(id)).toBe(0);
  const others = await Promise.all(waiting.map((each) => cluster.floe.get(each)));
  expect(new Set(others.map(({ state, epoch }) => `${state} ${epoch}`))).toEqual(new Set(['queued 0']));
});
