/** Bounds of one job, from the side of the job that goes beyond them, with an honest one beside it. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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
    message: /^The program cannot be started: no-such-program: No such file/,
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
