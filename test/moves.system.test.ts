/** Jobs whose machine is taken away three times by EC2 notices, on S3: nobody can tell from what they leave. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Ceph, startCeph } from '../store/testing/ceph.ts';
import { Cluster } from './support/cluster.ts';
import { undisturbed } from './support/undisturbed.ts';

const STEPS = 800;
const WORKERS = ['one', 'two', 'three', 'four'];
const MEMORY = {
  threads: ['8', String(STEPS), 'threads', '--seed', '11'],
  tree: ['8', String(STEPS), 'tree', '--seed', '12', '--exit', '42'],
} as const;
/** Writes to both streams, keeps a file open over the moves, and dies by a signal. */
const STREAMS = `exec 3>counted; i=0
while [ $i -lt ${STEPS} ]; do i=$((i+1)); echo "out $i"; echo "err $i" >&2; echo $i >&3; sleep 0.03; done
kill -SEGV $$`;

let ceph: Ceph;
let cluster: Cluster;
let ids: Record<'threads' | 'tree' | 'streams', string>;
let exitCodes: Record<keyof typeof ids, number | undefined>;

beforeAll(async () => {
  ceph = await startCeph();
  const storeUrl = ceph.storeUrl(await ceph.createBucket());
  cluster = await Cluster.open({ storeUrl, environment: ceph.environment });
  const memory = (mode: keyof typeof MEMORY) =>
    cluster.submitProgram('memory', [...MEMORY[mode], '--pace-ms', '30'], { outputs: ['memory.record'], attempts: 2 });
  ids = {
    threads: await memory('threads'),
    tree: await cluster.submitProgram('memory', [...MEMORY.tree, '--pace-ms', '30'], { outputs: ['memory.*'] }),
    streams: await cluster.floe.submit({ command: ['sh', '-c', STREAMS] }),
  };
  let worker = await cluster.worker('one', { slots: 3 });
  for (const next of WORKERS.slice(1)) {
    await Promise.all(Object.values(ids).map((id) => cluster.untilLines(id, 5)));
    [worker] = await Promise.all([cluster.worker(next, { slots: 3 }), worker.interrupt()]);
  }
  const wait = async (id: string) => (await cluster.cli('wait', id)).exitCode;
  const [threads, tree, streams] = await Promise.all([wait(ids.threads), wait(ids.tree), wait(ids.streams)]);
  exitCodes = { threads, tree, streams };
}, 240_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await ceph?.[Symbol.asyncDispose]();
});

async function output(id: string, name: string): Promise<string> {
  const folder = join(cluster.directory, 'outputs', id);
  await cluster.floe.fetchOutputs(id, folder);
  return readFile(join(folder, name), 'utf8');
}

test.for(['threads', 'tree', 'streams'] as const)(
  '%s was on four workers, lost nothing, counts one attempt',
  async (name) => {
    const { runs, lostMs, crashes } = await cluster.floe.get(ids[name]);
    const end = name === 'threads' ? 'finished' : 'failed';
    expect(runs.map((run) => `${run.worker} ${run.end}`)).toEqual([
      'one frozen',
      'two frozen',
      'three frozen',
      `four ${end}`,
    ]);
    const from = runs.slice(0, 3).map(({ epoch }) => expect.stringMatching(`^0*${epoch}-`));
    expect(runs.map(({ thawedFrom }) => thawedFrom)).toEqual([null, ...from]);
    expect({ lostMs, crashes, attempts: await cluster.attemptsMade(ids[name]) }).toEqual({
      lostMs: 0,
      crashes: 0,
      attempts: 1,
    });
  },
);

test.for(['threads', 'tree'] as const)('memory and files of %s are those of an undisturbed run', async (name) => {
  const { stdout, record } = await undisturbed(MEMORY[name]);
  expect(stdout).toMatch(/\ndone [0-9a-f]{16}\n$/);
  expect(await cluster.log(ids[name])).toBe(stdout);
  expect(await output(ids[name], 'memory.record')).toBe(record);
});

test('both streams have every line once', async () => {
  const lines = (word: string) => Array.from({ length: STEPS }, (_, at) => `${word}${at + 1}\n`).join('');
  expect(await cluster.log(ids.streams, 'stdout')).toBe(lines('out '));
  expect(await cluster.log(ids.streams, 'stderr')).toBe(lines('err '));
  expect(await output(ids.streams, 'counted')).toBe(lines(''));
});

test('exit code and death by signal are the ones of the program', () => {
  expect(exitCodes).toEqual({ threads: 0, tree: 42, streams: 128 + 11 });
});
