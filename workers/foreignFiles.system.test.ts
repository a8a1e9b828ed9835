/** What a job leaves in its workspace, or somebody in the bucket, to get at the host or at the worker. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseJobSpec, sendRequest, storeKeys } from '../jobs/index.ts';
import { putFolder } from '../store/folder.ts';
import { Stack } from './testing/stack.ts';

let stack: Stack;
beforeEach(async () => {
  stack = await Stack.open();
});
afterEach(() => stack[Symbol.asyncDispose]());

const outputsOf = async (key = '') => zstdDecompressSync(await stack.store.get(key));

test('no file of the host is kept as an output, whatever link leads to it', async () => {
  const host = join(stack.directory, 'host');
  await mkdir(host);
  await writeFile(join(host, 'key'), 'the secret of the host');
  await stack.worker('one');
  const command = ['sh', '-c', `ln -s ${host} results; ln -s ${host}/key link; echo mine > fine`];
  const id = await stack.submit({ command, outputs: ['results/*', 'results/key', 'link', 'fine'] });
  const { result } = await stack.until(id, { state: 'succeeded' });
  expect(result?.outputs).toMatchObject({ files: 2, unmatched: ['results/*', 'results/key'] });
  expect((await outputsOf(result?.outputs?.key)).includes('the secret of the host')).toBe(false);
});

test('files of every type and name end no worker and no job: they are kept, or named', async () => {
  await stack.worker('one');
  const script = `
    for my $name ("\\xff\\x80", "new\\nline", "C:", map { "file$_" } 1..8) { open my $file, '>', $name or die; print $file $name }
    use POSIX; POSIX::mkfifo('pipe', 0600) or die;
    use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un('socket')) or die;`;
  const id = await stack.submit({ command: ['perl', '-e', script] });
  const { result } = await stack.until(id, { state: 'succeeded' });
  const examples = [
    { path: 'pipe', reason: 'pipe' },
    { path: 'socket', reason: 'socket' },
  ];
  expect(result?.outputs).toMatchObject({ files: 11, exceptions: { count: 2, examples } });
  const next = await stack.submit({ command: ['true'] });
  await stack.until(next, { state: 'succeeded' });
});

test('outputs that take for ever to find can be given up: the job is cancelled, and its worker free', async () => {
  await stack.worker('one');
  // Regular expressions try this in more ways than there are atoms.
  const command = ['touch', 'a'.repeat(200)];
  const id = await stack.submit({ command, outputs: ['+(a|aa|aaa)b'] });
  await expect.poll(async () => (await stack.record(id)).progress?.step, { timeout: 30_000 }).toBe('keeping outputs');
  await sendRequest(stack.redis, { type: 'cancel', jobId: id });
  const { result } = await stack.until(id, { state: 'cancelled' });
  expect(result).toMatchObject({ outcome: 'cancelled', logs: { stdout: { sizeBytes: 0 } } });
  const next = await stack.submit({ command: ['true'] });
  await stack.until(next, { state: 'succeeded' });
});

test('an input that somebody has replaced does not run: the job fails and says so', async () => {
  const [honest, evil] = [join(stack.directory, 'honest'), join(stack.directory, 'evil')];
  for (const folder of [honest, evil]) {
    await mkdir(folder);
    await writeFile(join(folder, 'program'), `echo ${folder === evil ? 'evil' : 'honest'}\n`);
  }
  const spec = parseJobSpec({ command: ['sh', 'program'] });
  const replaced = await stack.add(spec, honest);
  await putFolder(stack.store, storeKeys.input(replaced), evil);
  const garbled = await stack.add(spec, honest);
  await stack.store.putStream(storeKeys.input(garbled), Readable.from([Buffer.from('no archive')]));
  // As a version before this check has queued it.
  const old = await stack.add(spec, honest);
  const job = await stack.queue().getJob(old);
  if (!job?.data.input) throw new Error('The job has no input.');
  const { key, sizeBytes } = job.data.input;
  await job.updateData({ ...job.data, input: { key, sizeBytes } });

  await stack.worker('one');
  for (const id of [replaced, garbled]) {
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result).toMatchObject({ end: null, reason: { code: 'substituted' } });
  }
  await stack.until(old, { state: 'succeeded' });
  expect(await stack.keptLog(old)).toBe('honest\n');
});
