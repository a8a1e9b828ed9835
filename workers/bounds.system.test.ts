/** Bounds of one job, from the side of the job that goes beyond them, with an honest one beside it. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { displayName, newJobId, parseJobSpec, queueOptions } from '../jobs/index.ts';
import { createRecords } from '../jobs/record.ts';
import { Stack } from './testing/stack.ts';

let stack: Stack;
beforeEach(async () => {
  stack = await Stack.open();
});
afterEach(() => stack[Symbol.asyncDispose]());

/** The self-verifying job ends with this line only if no byte of its memory and files was ever wrong. */
const DONE = /\ndone [0-9a-f]{16}\n$/;

describe('a job that can never start fails once, with its reason', () => {
  const missing = {
    command: ['no-such-program'],
    code: 127,
    message: /^The program cannot be started: no-such-program: No such file.*FLOE_READABLE_PATHS/,
  };
  test.for([
    ['whose program is not there', missing],
    ['whose program is no program', { command: ['./data'], code: 126, message: /\.\/data: Permission denied\.$/ }],
    ['whose interpreter is not there', { command: ['./script'], code: 127, message: /\.\/script: No such file/ }],
    ['whose program is a folder', { command: ['/usr'], code: 126, message: /\/usr: Permission denied/ }],
    ['whose program has too long a name', { command: ['y'.repeat(300)], code: 126, message: /y: File name too long/ }],
    [
      'whose folder is not there',
      { ...missing, command: ['true'], directory: '/nowhere', code: 126, message: /\/nowhere: No such/ },
    ],
  ] as const)('%s', async ([, { code, message, ...spec }]) => {
    const workspace = join(stack.directory, 'broken');
    await mkdir(workspace);
    await writeFile(join(workspace, 'data'), 'x');
    await writeFile(join(workspace, 'script'), '#!/no/such/interpreter\n');
    await chmod(join(workspace, 'script'), 0o755);
    await stack.worker('one');
    const id = await stack.submit({ ...spec, command: [...spec.command], attempts: 5, backoffMs: 50 }, workspace);
    const { result, failures, crashes, epoch } = await stack.until(id, { state: 'failed' });
    expect({ failures, crashes, epoch }).toEqual({ failures: 1, crashes: 0, epoch: 1 });
    expect(result).toMatchObject({
      end: { exitCode: code, signal: null },
      reason: { code: 'cannotStart', message: expect.stringMatching(message) },
    });
  });

  test('but a program that ends with 127 by itself has its attempts', async () => {
    await stack.worker('one');
    const id = await stack.submit({ command: ['sh', '-c', 'echo floe: no >&2; exit 127'], attempts: 2, backoffMs: 50 });
    const { result, failures } = await stack.until(id, { state: 'failed' });
    expect({ failures, reason: result?.reason }).toEqual({ failures: 2, reason: null });
  });

  test.for([
    [
      'arguments beyond the kernel’s limits',
      { command: ['true', 'y'.repeat(200_000)] },
      /^The job is not valid: spec\.command\.1: must have/,
    ],
    ['a NUL', { command: ['true', 'a\0b'] }, /^The job is not valid: spec\.command\.1: must not have a NUL/],
    [
      '3 MB of environment',
      { env: Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`V${at}`, 'y'.repeat(100_000)])) },
      /^The job is not valid: spec\.env: command and environment/,
    ],
  ] as const)('with %s, queued before there were bounds', async ([, broken, message]) => {
    const good = parseJobSpec({ command: ['true'] });
    const id = newJobId('default');
    await createRecords(stack.redis, [{ id, name: displayName(good) }]);
    const data = {
      spec: { ...good, ...broken, command: [...('command' in broken ? broken.command : good.command)] },
      input: null,
      submittedAt: 1,
    };
    await stack.queue().add('x', data, queueOptions(id, good));
    await stack.worker('one');
    const honest = await stack.submitMemory(20, 10);
    const { result, epoch, crashes } = await stack.until(id, { state: 'failed' });
    expect({ epoch, crashes }).toEqual({ epoch: 1, crashes: 0 });
    expect(result?.reason).toMatchObject({ code: 'invalidJob', message: expect.stringMatching(message) });
    await stack.until(honest, { state: 'succeeded' });
    expect(await stack.keptLog(honest)).toMatch(DONE);
  });
});

describe('a job on the disk', () => {
  const MIB = 2 ** 20;
  const writes = (script: string) => ({ command: ['sh', '-c', script], resources: { diskBytes: 32 * MIB } });
  test.for([
    ['its workspace', writes('head -c 200000000 /dev/zero > big; sleep 60')],
    ['/tmp', writes('head -c 200000000 /dev/zero > /tmp/big; sleep 60')],
    ['/dev/shm', writes('head -c 200000000 /dev/zero > /dev/shm/big; sleep 60')],
    ['its log', writes('head -c 200000000 /dev/zero; sleep 60')],
    ['a volume', { ...writes('head -c 200000000 /dev/zero > /data-of-job/big; sleep 60'), volumes: ['/data-of-job'] }],
  ] as const)('that has more than its limit in %s ends, and the one beside it does not', async ([, spec]) => {
    await stack.worker('one', { slots: 2 });
    const honest = await stack.submitMemory(60, 30);
    const id = await stack.submit({
      ...spec,
      command: [...spec.command],
      volumes: 'volumes' in spec ? [...spec.volumes] : [],
      attempts: 3,
    });
    const { result, crashes } = await stack.until(id, { state: 'failed' });
    expect(result).toMatchObject({ end: null, outputs: null, reason: { code: 'diskExceeded' } });
    expect(result?.reason?.message).toMatch(
      /^The job had \d+ MiB on the worker's disk, and its limit is 32 MiB: submit it with more/,
    );
    expect(result?.logs?.stdout).toBeDefined();
    expect(crashes).toBe(0);
    await stack.until(honest, { state: 'succeeded' });
    expect(await stack.keptLog(honest)).toMatch(DONE);
  });

  test('that has more than its limit in files without a name ends', async () => {
    await stack.worker('one');
    const id = await stack.submit(
      writes('exec 7> big 8> /tmp/big; rm big /tmp/big; head -c 200000000 /dev/zero | tee /dev/fd/8 >&7; sleep 60'),
    );
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result?.reason).toMatchObject({ code: 'diskExceeded', message: expect.stringMatching(/had [1-4]\d\d MiB/) });
  });

  test('that has a sparse file of 16 TiB has what is allocated of it', async () => {
    await stack.worker('one');
    const id = await stack.submit({ ...writes('truncate -s 15T sparse; sleep 3'), outputs: ['no-such'] });
    await stack.until(id, { state: 'succeeded' });
  });

  test('that makes files without end ends', async () => {
    await stack.worker('one', { disk: { mostFiles: 2000 } });
    const id = await stack.submit({ command: ['sh', '-c', 'i=0; while :; do mkdir d$i; i=$((i+1)); done'] });
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result?.reason).toMatchObject({
      code: 'diskExceeded',
      message: expect.stringMatching(/files and folders, and the limit is 2000/),
    });
  });

  test('that hides its files deep below others, and changes folders into links, is measured and nothing else is', async () => {
    await stack.worker('one');
    const script =
      'for i in $(seq 3000); do mkdir d; cd d; done; (while :; do ln -sfn / /workspace/l; rm /workspace/l; mkdir /workspace/l; rmdir /workspace/l; done) 2>/dev/null & head -c 200000000 /dev/zero > big; sleep 60';
    const id = await stack.submit(writes(script));
    const { result } = await stack.until(id, { state: 'failed' });
    expect(result?.reason).toMatchObject({
      code: 'diskExceeded',
      message: expect.stringMatching(/had (19\d|2\d\d) MiB/),
    });
  });

  test('whose input unpacks to more than that fails once', async () => {
    const workspace = join(stack.directory, 'bomb');
    await mkdir(workspace);
    await writeFile(join(workspace, 'zeros'), Buffer.alloc(400 * MIB));
    const id = await stack.submit(writes('sleep 60'), workspace);
    await stack.worker('one');
    const { result, epoch } = await stack.until(id, { state: 'failed' });
    expect(epoch).toBe(1);
    expect(result?.reason?.message).toMatch(/more than 33554432 bytes to unpack/);
  });

  test('that wants more than the worker gives waits for another', async () => {
    const id = await stack.submit({ command: ['true'], resources: { diskBytes: 64 * MIB } });
    const one = await stack.worker('one', { disk: { mostBytes: 32 * MIB } });
    const { problem, crashes } = await expect
      .poll(() => stack.record(id), { timeout: 30_000 })
      .toMatchObject({ problem: expect.stringMatching(/gives one job 32 MiB at most/) })
      .then(() => stack.record(id));
    expect({ problem: Boolean(problem), crashes }).toEqual({ problem: true, crashes: 0 });
    one.kill();
    await one.ended;
    await stack.worker('two');
    await stack.until(id, { state: 'succeeded' });
  });

  test('that fills it before its limit is given back before the disk is full for all', async () => {
    const directory = join(stack.directory, 'one');
    await mkdir(directory);
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=400m', 'tmpfs', directory]);
    try {
      await stack.worker('one', { slots: 2, disk: { directory, defaultBytes: 2 ** 40, mostBytes: 2 ** 40 } });
      const honest = await stack.submitMemory(150, 30);
      const script =
        'sleep 2; head -c 200000000 /dev/zero > a; for i in $(seq 1000); do head -c 1000000 /dev/zero >> b || exit 9; sleep 0.15; done';
      const greedy = await stack.submit({ command: ['sh', '-c', script], crashBudget: 0 });
      const { result } = await stack.until(greedy, { state: 'failed' });
      const message = expect.stringMatching(/The worker's disk was about to be full, and this job had grown most/);
      expect(result?.reason).toMatchObject({ code: 'crashBudget', message });
      await stack.until(honest, { state: 'succeeded' });
      expect(await stack.keptLog(honest)).toMatch(DONE);
    } finally {
      await execa('umount', ['--lazy', directory], { reject: false });
    }
  });
});

describe('logs in Redis', () => {
  test('of jobs that write without end leave room for locks, and the store has every byte', async () => {
    const MIB = 2 ** 20;
    const limitMib = 24;
    await stack.redis.config('SET', 'maxmemory', `${limitMib}mb`);
    await stack.worker('one', { slots: 4 });
    const noise =
      'head -c 60000000 /dev/zero | tr "\\0" x; for i in 1 2 3 4; do sleep 0.3; head -c 5000000 /dev/zero | tr "\\0" y; done';
    const noisy = await Promise.all([1, 2, 3].map(() => stack.submit({ command: ['sh', '-c', noise], outputs: [] })));
    const honest = await stack.submitMemory(60, 30);
    let most = 0;
    const look = setInterval(async () => {
      const used = Number(/^used_memory:(\d+)/m.exec(await stack.redis.info('memory'))?.[1]);
      most = Math.max(most, used);
    }, 100);
    try {
      for (const id of [honest, ...noisy]) await stack.until(id, { state: 'succeeded' });
    } finally {
      clearInterval(look);
    }
    expect(most).toBeLessThan(0.9 * limitMib * MIB);
    expect(await stack.log(honest)).toMatch(DONE); // its few lines are still there, whole
    expect(await stack.keptLog(honest)).toMatch(DONE);
    expect((await stack.record(honest)).crashes).toBe(0);
    for (const id of noisy) expect((await stack.record(id)).result?.logs?.stdout.sizeBytes).toBe(80_000_000);
  });
});
