/**
 * Without a key whoever can write to the bucket can make checkpoints of their own. Not even those are restored with privileges that no
 * job has: real checkpoints, with CRIU's images of their processes changed, and every hash made right.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { changeMessage, forgeImages } from '../freezer/testing/forge.ts';
import { storeKeys } from '../jobs/index.ts';
import { Stack } from './testing/stack.ts';

let stack: Stack;
beforeEach(async () => {
  stack = await Stack.open();
});
afterEach(() => stack[Symbol.asyncDispose]());

async function freeze(): Promise<{ id: string; checkpoint: string }> {
  const one = await stack.worker('one');
  const id = await stack.submitMemory(400, 30, { checkpoint: { ifUnusable: 'fail' } });
  await stack.untilSteps(id, 3);
  one.notify({ kind: 'notice', source: 'test', deadlineAt: null });
  await one.ended;
  return { id, checkpoint: (await stack.record(id)).checkpoint ?? '' };
}

const ALL = [0xffffffffn, 0x1ffn];

test.for([
  ['effective capabilities', [5, 10, 11], ALL, 'asks for effective capabilities'],
  ['permitted capabilities', [5, 10, 10], ALL, 'asks for permitted capabilities'],
  ['a bounding set', [5, 10, 12], ALL, 'asks for bounding capabilities'],
  ['ways to gain privileges', [5, 10, 18], [0n], 'could gain privileges'],
  ['no seccomp filter', [5, 11], [0n], 'has no seccomp filter'],
] as const)('processes with %s are not restored', async ([, path, values, told]) => {
  const { id, checkpoint } = await freeze();
  const isProcess = (name: string) => /^core-\d+\.img$/.test(name);
  await forgeImages(stack.store, storeKeys.checkpoints(id), checkpoint, (name) =>
    isProcess(name) ? (image) => changeMessage(image, path, values) : null,
  );
  await stack.worker('two');
  const { result } = await stack.until(id, { state: 'failed' });
  expect(result?.reason).toMatchObject({
    code: 'checkpointUnusable',
    message: expect.stringMatching(new RegExp(`${told}.*\\(substituted\\)`)),
  });
  expect(await stack.runs(id)).toHaveLength(1);
});

test('the same, with nothing changed that matters, is restored', async () => {
  const { id, checkpoint } = await freeze();
  await forgeImages(stack.store, storeKeys.checkpoints(id), checkpoint, (name) =>
    /^core-\d+\.img$/.test(name) ? (image) => changeMessage(image, [5, 10, 11], [0n, 0n]) : null,
  );
  await stack.worker('two');
  await stack.until(id, { state: 'succeeded', lostMs: 0 });
});
