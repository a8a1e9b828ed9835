/**
 * Workers killed by `kill -9` at the worst moments: in the middle of a dump, of an upload, of a thaw. Another worker goes on
 * from the last committed checkpoint, and nothing of the dead one is left. (Between checkpoints: workers/recovery.system.test.ts.)
 */
import { beforeEach, expect, test, vi } from 'vitest';
import type { GateRequest } from './support/gate.ts';
import { useGatedCluster } from './support/gatedCluster.ts';
import { type RunningProcess, stillRunning } from './support/processes.ts';
import { undisturbed } from './support/undisturbed.ts';
import type { WorkerProcess } from './support/workerProcess.ts';

const WORDS = ['8', '180', 'tree', '--seed', '21'];
const isPack = ({ key }: GateRequest) => key.includes('/packs/');

const on = useGatedCluster();
let one: WorkerProcess;
beforeEach(async () => {
  one = await on.cluster.worker('one');
});

function submit(everyMs: number): Promise<string> {
  return on.cluster.submitProgram('memory', [...WORDS, '--pace-ms', '40'], { checkpoint: { everyMs }, attempts: 2 });
}

/** The worker vanishes, and everything that it started with it. */
async function crash(worker: WorkerProcess): Promise<void> {
  const before = await worker.processes();
  expect(
    before.some(({ command }) => command.includes('--seed')),
    'the job is among its processes',
  ).toBe(true);
  await worker.crash();
  expect(await stillRunning(before)).toEqual([]);
}

async function expectUndisturbed(id: string): Promise<void> {
  expect(await on.cluster.log(id)).toBe((await undisturbed(WORDS)).stdout);
  expect(await on.cluster.attemptsMade(id)).toBe(1);
}

/** CRIU while it dumps; the `--tree` is that of the job. */
const isDump = ({ command }: RunningProcess) => command.includes('dump') && command.includes('--tree');

test('in the middle of a dump', async () => {
  const id = await submit(700);
  await on.cluster.untilEvent(id, 'checkpointed');
  const criu = await vi.waitFor(
    async () => {
      const found = (await one.processes()).find(isDump);
      if (!found) throw new Error('no dump is under way');
      process.kill(found.pid, 'SIGSTOP'); // so that it is still in the middle of it when the worker dies
      return found;
    },
    { timeout: 60_000, interval: 5 },
  );
  const atStop = await on.cluster.floe.get(id);
  expect(atStop.state).toBe('freezing');
  expect(await stillRunning([criu])).toEqual([criu]);
  await crash(one);
  await on.cluster.worker('two');
  const { runs, lostMs } = await on.cluster.until(id, { state: 'succeeded', crashes: 1, failures: 0 });
  expect(runs.map(({ worker, end }) => `${worker} ${end}`)).toEqual(['one crashed', 'two finished']);
  expect(runs[1]?.thawedFrom).toBe(atStop.checkpoint);
  expect(lostMs).toBe(runs[0]?.lostMs);
  await expectUndisturbed(id);
});

test('in the middle of an upload', async () => {
  const id = await submit(700);
  await on.cluster.untilEvent(id, 'checkpointed');
  const held = on.gate.treat('hold', (request) => request.method === 'PUT' && isPack(request));
  await held;
  const { checkpoint } = await on.cluster.floe.get(id);
  await crash(one);
  on.gate.open();
  await on.cluster.worker('two');
  const { runs, lostMs } = await on.cluster.until(id, { state: 'succeeded', crashes: 1, failures: 0 });
  expect(runs.map(({ worker, end }) => `${worker} ${end}`)).toEqual(['one crashed', 'two finished']);
  expect(runs[1]?.thawedFrom).toBe(checkpoint);
  expect(lostMs).toBe(runs[0]?.lostMs);
  await expectUndisturbed(id);
});

test('in the middle of a thaw, which loses nothing', async () => {
  const id = await submit(0);
  await on.cluster.untilLines(id, 5);
  await one.interrupt();
  const held = on.gate.treat('hold', (request) => request.method === 'GET' && isPack(request));
  const two = await on.cluster.worker('two');
  await held;
  expect(await on.cluster.floe.get(id)).toMatchObject({ state: 'thawing', worker: 'two' });
  await two.crash();
  on.gate.open();
  await on.cluster.worker('three');
  const { runs } = await on.cluster.until(id, { state: 'succeeded', crashes: 1, lostMs: 0 });
  expect(runs.map(({ worker, end }) => `${worker} ${end}`)).toEqual(['one frozen', 'three finished']);
  expect(runs[1]?.thawedFrom).toMatch(/^00000001-/);
  await expectUndisturbed(id);
});
