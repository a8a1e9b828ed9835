/** A store that fails in the middle of a checkpoint, or that hands out a damaged one: the job does not notice. */
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { storeKeys } from '../jobs/index.ts';
import type { JobView } from '../producers/index.ts';
import type { GateRequest } from './support/gate.ts';
import { useGatedCluster } from './support/gatedCluster.ts';
import { undisturbed } from './support/undisturbed.ts';

/** Random memory of some 40 MiB fills three packs. It runs for longer than any of the tests. */
const WORDS = ['40', '2000', 'random', '--seed', '41'];

const on = useGatedCluster();

function submit(): Promise<string> {
  return on.cluster.submitProgram('memory', [...WORDS, '--pace-ms', '25'], { checkpoint: { everyMs: 0 } });
}

/** The self-verifying job runs on worker two, and has written what it would have written undisturbed. */
async function goesOn(id: string): Promise<JobView> {
  await on.cluster.untilEvent(id, 'thawed');
  await on.cluster.untilLines(id, 50);
  const { stdout } = await undisturbed(WORDS);
  expect(stdout.startsWith(await on.cluster.log(id))).toBe(true);
  return on.cluster.until(id, { state: 'running', worker: 'two', crashes: 0, failures: 0 });
}

async function checkpointKeys(id: string, part: string): Promise<string[]> {
  const objects = await Array.fromAsync(on.cluster.store.list(`${storeKeys.checkpoints(id)}${part}/`));
  return objects.map(({ key }) => key);
}

/** Reads of the store go on: only what is written is in the way. */
const isWrite = (part: string) => (request: GateRequest) =>
  request.method === 'PUT' && request.key.includes(`/${part}/`);

test('that refuses or cuts writes leaves the old checkpoint standing and the job running', async () => {
  const one = await on.cluster.worker('one');
  const id = await submit();
  await on.cluster.untilLines(id, 3);
  const { checkpoint } = await on.cluster.floe.checkpoint(id);
  const failures = [
    ['refuse', 'packs/00000001-000002-000001'],
    ['cut', 'packs'],
    ['refuse', 'manifests'],
    ['cut', 'manifests'],
  ] as const;
  for (const [at, [treatment, part]] of failures.entries()) {
    const [folder, name = ''] = part.split('/');
    void on.gate.treat(treatment, (request) => isWrite(folder ?? '')(request) && request.key.includes(name));
    await expect(on.cluster.floe.checkpoint(id)).rejects.toMatchObject({ code: 'cannotFreeze' });
    expect(await on.cluster.untilEvent(id, 'freezeFailed', at + 1)).toMatchObject({
      code: 'storeFailed',
      message: expect.stringContaining(`/${folder}/`),
    });
    expect(await on.cluster.floe.get(id)).toMatchObject({ state: 'running', checkpoint, crashes: 0 });
    await on.cluster.untilLines(id, 3);
    expect(await checkpointKeys(id, 'manifests')).toHaveLength(1);
  }

  on.gate.open();
  await one.interrupt();
  const { checkpoint: next } = await on.cluster.floe.get(id);
  expect(next).not.toBe(checkpoint);
  await on.cluster.worker('two');
  const { runs } = await goesOn(id);
  expect(runs.map(({ thawedFrom }) => thawedFrom)).toEqual([null, next]);
});

test('that lost half of a pack costs the work since the checkpoint before, and the history says so', async () => {
  const one = await on.cluster.worker('one');
  const id = await submit();
  await on.cluster.untilLines(id, 3);
  const { checkpoint: before } = await on.cluster.floe.checkpoint(id);
  await on.cluster.untilLines(id, 3);
  await one.interrupt();
  const { checkpoint: damaged } = await on.cluster.floe.get(id);
  const pack = (await checkpointKeys(id, 'packs')).find((key) => key.includes(`${damaged}-`)) ?? 'no pack';
  const bytes = await on.cluster.store.get(pack);
  await on.cluster.store.putStream(pack, Readable.from(bytes.subarray(0, bytes.length / 2), { objectMode: false }));

  await on.cluster.worker('two');
  const { runs } = await goesOn(id);
  expect(runs[1]).toMatchObject({ thawedFrom: before, passedOver: [expect.stringContaining(String(damaged))] });
  expect(await on.cluster.untilEvent(id, 'passedOver')).toMatchObject({ checkpoint: damaged });
});
