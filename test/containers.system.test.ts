/** Jobs in images, on workers as users have them: moved, crashed and refused, with Docker. */
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { testImage } from './images/testImage.ts';
import { Cluster } from './support/cluster.ts';
import { requireEngine } from './support/engine.ts';
import { startPrivateEngine } from './support/privateEngine.ts';
import { undisturbed } from './support/undisturbed.ts';

const WORDS = ['8', '250', 'tree', '--seed', '31'];
const MEMORY = ['/usr/local/bin/memory', ...WORDS, '--pace-ms', '30'];
const DOCKER = { runtimes: 'docker' };

let image: string;
let cluster: Cluster;
beforeAll(async () => {
  image = await testImage(await requireEngine(), 'debian');
});
beforeEach(async () => {
  cluster = await Cluster.open();
});
afterEach(() => cluster[Symbol.asyncDispose]());

/** As a user does it; resolves to the job's id. */
async function submit(...words: string[]): Promise<string> {
  const { stdout, stderr } = await cluster.cli('submit', ...words);
  expect(stderr).toBe('');
  return stdout.trim();
}

/** What `floe status` says after this label. */
async function status(id: string, label: string): Promise<string> {
  const { stdout } = await cluster.cli('status', id);
  return new RegExp(`^${label} +(.*)$`, 'm').exec(stdout)?.[1] ?? '';
}

/** What the engine has of a worker of this cluster: names of containers, running or not. */
async function containersOf(worker: string): Promise<string[]> {
  const label = `label=floe.state=${join(cluster.directory, worker, 'workers', worker)}`;
  const { stdout } = await execa('docker', ['ps', '--all', '--format', '{{.Names}} {{.State}}', '--filter', label]);
  return stdout.split('\n').filter((line) => line !== '');
}

test('a job is on four workers by three SIGTERMs, and nobody can tell', async () => {
  const id = await submit('--image', image, '--output', 'memory.record', '--', ...MEMORY);
  let worker = await cluster.worker('one', DOCKER);
  for (const next of ['two', 'three', 'four']) {
    await cluster.untilLines(id, 5);
    expect(await containersOf(worker.name)).toEqual([expect.stringMatching(/ running$/)]);
    worker.kill('SIGTERM');
    const [other, exitCode] = await Promise.all([cluster.worker(next, DOCKER), worker.ended]);
    expect(exitCode).toBe(0);
    expect(await containersOf(worker.name)).toEqual([]);
    worker = other;
  }
  expect(await cluster.cli('wait', id)).toMatchObject({ exitCode: 0 });
  const { runs, lostMs, image: pinned } = await cluster.floe.get(id);
  const ends = ['one frozen', 'two frozen', 'three frozen', 'four finished'];
  expect(runs.map((run) => `${run.worker} ${run.end}`)).toEqual(ends);
  expect({ lostMs, attempts: await cluster.attemptsMade(id) }).toEqual({ lostMs: 0, attempts: 1 });
  expect(await cluster.log(id)).toBe((await undisturbed(WORDS)).stdout);
  expect(pinned).toMatch(/sha256:[0-9a-f]{64}$/);
  expect(await status(id, 'image')).toBe(`${image}, which is ${pinned}`);
});

test('a worker is killed: its job goes on elsewhere, and its container is ended at once and removed by the next one', async () => {
  const id = await submit('--image', image, '--checkpoint-every', '1s', '--', ...MEMORY);
  const one = await cluster.worker('one', DOCKER);
  await cluster.untilEvent(id, 'checkpointed');
  expect(await containersOf('one')).toEqual([expect.stringMatching(/ running$/)]);
  await one.crash();
  const running = async () => (await containersOf('one')).filter((line) => line.endsWith(' running'));
  await vi.waitFor(async () => expect(await running()).toEqual([]), { timeout: 20_000 });
  await cluster.worker('two', DOCKER);
  expect(await containersOf('one')).toEqual([]);
  const { runs } = await cluster.until(id, { state: 'succeeded', crashes: 1, failures: 0 });
  expect(runs.map((run) => `${run.worker} ${run.end}`)).toEqual(['one crashed', 'two finished']);
  expect(await cluster.log(id)).toBe((await undisturbed(WORDS)).stdout);
});

test('the engine ends under a job and comes back: it waits meanwhile, is told why, and goes on from its checkpoint', async () => {
  await using engine = await startPrivateEngine();
  await engine.take(image);
  vi.stubEnv('DOCKER_HOST', engine.env.DOCKER_HOST);
  await cluster.worker('one', DOCKER);
  const id = await submit('--image', image, '--checkpoint-every', '1s', '--', ...MEMORY);
  await cluster.untilEvent(id, 'checkpointed');
  await engine.stop();
  await cluster.until(id, { crashes: 1, problem: expect.stringContaining('container engine does not answer') });
  expect(await status(id, 'problem')).toContain('container engine does not answer');
  await engine.start();
  const { runs } = await cluster.until(id, { state: 'succeeded', crashes: 1, failures: 0 });
  expect(runs.map((run) => `${run.worker} ${run.end}`)).toEqual(['one crashed', 'one finished']);
  expect(await cluster.log(id)).toBe((await undisturbed(WORDS)).stdout);
  expect(await containersOf('one')).toEqual([]);
});

test('a job that no worker can ever run fails, and says what to do', async () => {
  await cluster.worker('one', DOCKER);
  const absent = `sha256:${'0'.repeat(64)}`;
  const unknown = await submit('--image', absent, '--', 'true');
  expect(await cluster.cli('wait', unknown)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/The image sha256:0+ cannot be had: .*Push the image to a registry.*imageNotFound/),
  });
  expect(await status(unknown, 'end')).toMatch(
    /^failed: The image .*cannot be had.*Push the image.*\(imageNotFound\)$/,
  );
});

test('jobs that no worker has what they need for wait, are told why, and run when one has it', async () => {
  await cluster.worker('one', { runtimes: 'process' });
  const withImage = await submit('--image', image, '--', 'true');
  await cluster.until(withImage, { state: 'queued', problem: expect.stringContaining('one: ') });
  expect(await status(withImage, 'problem')).toMatch(/^one: .*no container engine.*wants the image.*Docker or Podman/);
  await cluster.worker('two', DOCKER);
  await cluster.until(withImage, { state: 'succeeded', crashes: 0, failures: 0, problem: null });
});

test('a job without an image waits for a worker that runs such', async () => {
  await cluster.worker('one', DOCKER);
  const id = await submit('--', 'true');
  await cluster.until(id, { state: 'queued', problem: expect.stringMatching(/images only.*Submit it with `image`/) });
  await cluster.worker('two', { runtimes: 'process' });
  await cluster.until(id, { state: 'succeeded', crashes: 0, failures: 0, problem: null });
});

test('a job that outgrows its memory is told so, and not taken for a crash', async () => {
  await cluster.worker('one', DOCKER);
  const greedy = ['perl', '-e', 'my $all = "x" x 400_000_000; sleep 1000'];
  const id = await submit('--image', image, '--memory', '32MiB', '--', ...greedy);
  expect(await cluster.cli('wait', id)).toMatchObject({ exitCode: 128 + 9 });
  expect(await status(id, 'end')).toMatch(/^failed: .*more memory than its limit.*\(memoryExceeded\)$/);
  expect(await cluster.floe.get(id)).toMatchObject({ failures: 1, crashes: 0 });
});
