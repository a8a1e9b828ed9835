/**
 * Somebody who can write to the bucket, and has no key, against jobs that were really frozen: nothing of theirs runs, no job of
 * theirs ends, nothing older comes back, and what was refused is told by its name.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Manifest } from '../freezer/checkpoint/format.ts';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { signManifest } from '../freezer/encryption/manifestMac.ts';
import { subKeysOf } from '../freezer/encryption/seal.ts';
import { sendRequest, storeKeys } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import { Stack } from './testing/stack.ts';

const DONE = /\ndone [0-9a-f]{16}\n$/;
const DRAIN = { kind: 'notice', source: 'test', deadlineAt: null } as const;

let stack: Stack;
let encryptionKeys: string[];
beforeEach(async () => {
  stack = await Stack.open();
  encryptionKeys = [randomBytes(32).toString('base64')];
});
afterEach(() => stack[Symbol.asyncDispose]());

/** What the attacker has: the bucket, as files. */
const at = (key: string) => join(stack.directory, 'store', key);
const checkpoints = (id: string) => at(storeKeys.checkpoints(id));
const manifest = (id: string, checkpoint: string) => join(checkpoints(id), `manifests/${checkpoint}.json`);
const readJson = async (path: string) => JSON.parse(await readFile(path, 'utf8'));
const writeJson = async (path: string, value: unknown) => {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(value));
};

async function takeCheckpoint(id: string): Promise<string> {
  const before = (await stack.record(id)).checkpoint;
  await sendRequest(stack.redis, { type: 'checkpoint', jobId: id });
  const newest = async () => (await stack.record(id)).checkpoint;
  await expect.poll(newest, { timeout: 60_000, interval: 50 }).not.toBe(before);
  return (await newest()) ?? '';
}

interface Frozen {
  readonly id: string;
  readonly first: string;
  readonly second: string;
}

/** Longer than any test: of jobs that are not to end by themselves. */
const ENDLESS = 1_000_000;
const SOON = 400;

/** Jobs with two checkpoints each, which nobody has. */
async function freezeAll(count: number, ifUnusable: 'fail' | 'afresh', steps: number): Promise<Frozen[]> {
  const one = await stack.worker('one', { encryptionKeys, slots: count });
  const submit = () => stack.submitMemory(steps, 30, { checkpoint: { ifUnusable } });
  const ids = await Promise.all(Array.from({ length: count }, submit));
  const firsts: string[] = [];
  for (const id of ids) {
    await stack.untilSteps(id, 3);
    firsts.push(await takeCheckpoint(id));
  }
  one.notify(DRAIN);
  await one.ended;
  const records = await Promise.all(ids.map((id) => stack.until(id, { state: 'frozen' })));
  return ids.map((id, at) => ({ id, first: firsts[at] ?? '', second: records[at]?.checkpoint ?? '' }));
}

async function freezeTwice(ifUnusable: 'fail' | 'afresh', steps = ENDLESS): Promise<Frozen> {
  const [frozen] = await freezeAll(1, ifUnusable, steps);
  return frozen as Frozen;
}

const reasonOf = async (id: string) => (await stack.until(id, { state: 'failed' })).result?.reason;

const ATTACKS: [name: string, attack: (job: Frozen) => Promise<void>, told: RegExp][] = [
  [
    'removes the newest checkpoint',
    async ({ id, second }) => rm(manifest(id, second)),
    /00000001-000002 is gone.*checkpointRolledBack/,
  ],
  [
    'puts the one before in its place',
    async ({ id, first, second }) => cp(manifest(id, first), manifest(id, second)),
    /00000001-000002 is gone.*checkpointRolledBack/,
  ],
  [
    'puts the one before in its place, under its name',
    async ({ id, first, second }) => {
      const old = await readJson(manifest(id, first));
      const index = `index/${second}`;
      await cp(join(checkpoints(id), `index/${first}`), join(checkpoints(id), index));
      await writeJson(manifest(id, second), { ...old, id: second, index: { ...old.index, key: index } });
    },
    /not as it was written for this job.*\(substituted\)/,
  ],
  [
    'takes the encryption away from its manifest',
    async ({ id, second }) => {
      const { home: _, ...sealed } = await readJson(manifest(id, second));
      await writeJson(manifest(id, second), { ...sealed, version: 3, encryption: null });
    },
    /it is not encrypted, and the checkpoint that was taken is.*\(substituted\)/,
  ],
  [
    'names another image in its manifest',
    async ({ id, second }) =>
      writeJson(manifest(id, second), { ...(await readJson(manifest(id, second))), image: 'attacker/image' }),
    /not as it was written for this job.*\(substituted\)/,
  ],
  [
    "puts another pack of the job's in the place of one",
    async ({ id }) => {
      const packs = await readdir(join(checkpoints(id), 'packs'));
      const [one = '', other = ''] = [packs.find((name) => name.startsWith('00000001-000001')), packs.at(-1)];
      expect(one).not.toBe(other);
      await cp(join(checkpoints(id), 'packs', one), join(checkpoints(id), 'packs', other));
    },
    /\(corrupt\)/,
  ],
  [
    "puts the other checkpoint's index in the place of its own",
    async ({ id, first, second }) =>
      cp(join(checkpoints(id), `index/${first}`), join(checkpoints(id), `index/${second}`)),
    /index\/.*\(corrupt\)/,
  ],
  [
    'removes all fences',
    async ({ id }) => rm(at(storeKeys.fences(id)), { recursive: true }),
    /The fence of run 1, the last one, is gone.*checkpointRolledBack/,
  ],
  [
    'puts a forged fence in the place of the last one',
    async ({ id }) => {
      const { signature: _, ...fence } = await readJson(at(storeKeys.fence(id, 1)));
      await writeJson(at(storeKeys.fence(id, 1)), { ...fence, thawsFrom: '00000000-000001' });
    },
    /The fence of run 1, the last one, is not authentic: it is not signed.*checkpointRolledBack/,
  ],
];

describe('with a key, of a frozen job', () => {
  test.for(ATTACKS)(
    'who %s gains nothing: it fails with a name, where its policy says so',
    async ([, attack, told]) => {
      const job = await freezeTwice('fail');
      await attack(job);
      await stack.worker('two', { encryptionKeys: [...encryptionKeys, 'plain'] });
      expect(await reasonOf(job.id)).toMatchObject({
        code: 'checkpointRolledBack',
        message: expect.stringMatching(told),
      });
      expect(await stack.runs(job.id)).toHaveLength(1);
    },
  );

  test('who removes the newest checkpoint has it start afresh, where its policy says so, and never from an older one', async () => {
    const { id, second } = await freezeTwice('afresh', SOON);
    await rm(manifest(id, second));
    await stack.worker('two', { encryptionKeys });
    await stack.until(id, { state: 'succeeded' });
    expect(await stack.keptLog(id)).toMatch(DONE);
    const [, run] = await stack.runs(id);
    expect(run).toMatchObject({
      thawedFrom: null,
      passedOver: [expect.stringContaining('checkpointRolledBack'), expect.anything()],
    });
  });

  test("who exchanges two jobs' checkpoints has neither run as the other", async () => {
    const [a, b] = (await freezeAll(2, 'fail', ENDLESS)) as [Frozen, Frozen];
    const aside = join(stack.directory, 'aside');
    await rename(checkpoints(a.id), aside);
    await rename(checkpoints(b.id), checkpoints(a.id));
    await rename(aside, checkpoints(b.id));
    await stack.worker('two', { encryptionKeys, slots: 2 });
    for (const { id } of [a, b]) {
      expect(await reasonOf(id)).toMatchObject({
        code: 'checkpointRolledBack',
        message: expect.stringMatching(/not as it was written for this job.*\(substituted\)/),
      });
    }
  });

  test('who writes fences of runs that never were gains nothing: it goes on where it was', async () => {
    const { id, first, second } = await freezeTwice('fail', SOON);
    for (const epoch of [0, 7]) {
      await writeJson(at(storeKeys.fence(id, epoch)), { version: 1, epoch, worker: 'x', thawsFrom: first, at: 1 });
    }
    await stack.worker('two', { encryptionKeys });
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    expect((await stack.runs(id))[1]).toMatchObject({ thawedFrom: second, passedOver: [] });
  });

  test('who writes its result ends nothing: it goes on, and its own result counts', async () => {
    const { id, second } = await freezeTwice('fail', SOON);
    const forged = {
      ...{ version: 1, jobId: id, outcome: 'succeeded', end: { exitCode: 0, signal: null }, reason: null, epoch: 1 },
      ...{ worker: 'x', finishedAt: new Date().toISOString(), logs: null },
      outputs: { key: storeKeys.outputs(id, 1), sizeBytes: 1, files: 1, unmatched: [] },
    };
    await writeJson(at(storeKeys.result(id)), forged);
    await stack.worker('two', { encryptionKeys });
    const { result } = await stack.until(id, { state: 'succeeded' });
    expect(result).toMatchObject({ worker: 'two', epoch: 2 });
    expect(await stack.keptLog(id)).toMatch(DONE);
    expect((await stack.runs(id))[1]).toMatchObject({ thawedFrom: second });
    const { signature, ...stored } = await readJson(at(storeKeys.result(id)));
    expect(stored).toEqual(result);
    expect(signature).toMatchObject({ home: stack.storeUrl });
  });

  test('who brings all of it to another bucket, where workers have the key, too, has nothing of it run', async () => {
    const { id } = await freezeTwice('fail');
    await rename(join(stack.directory, 'store'), join(stack.directory, 'other'));
    const storeUrl = `file://${stack.directory}/other`;
    await using store = await openStore(storeUrl);
    await stack.worker('two', { encryptionKeys, store, storeUrl });
    const problem = async () => (await stack.record(id)).problem ?? '';
    await expect.poll(problem, { timeout: 60_000 }).toContain(`was written for ${stack.storeUrl}; this is ${storeUrl}`);
    expect((await stack.record(id)).state).toBe('frozen');
    expect(await stack.runs(id)).toHaveLength(1);
  });

  test('an operator who moves the store says so, and it goes on', async () => {
    const { id, second } = await freezeTwice('fail', SOON);
    await rename(join(stack.directory, 'store'), join(stack.directory, 'other'));
    const storeUrl = `file://${stack.directory}/other`;
    await using store = await openStore(storeUrl);
    await stack.worker('two', { encryptionKeys: [...encryptionKeys, 'moved'], store, storeUrl });
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    expect((await stack.runs(id))[1]).toMatchObject({ thawedFrom: second, passedOver: [] });
  });
});

test('without a key, a result that names what is not the job’s is refused by name, and ends nothing', async () => {
  const id = await stack.submitMemory(50, 10);
  const foreign = { key: `jobs/other-abcdefghij/input.tar.zst`, sizeBytes: 1, files: 1, unmatched: [] };
  await writeJson(at(storeKeys.result(id)), {
    ...{ version: 1, jobId: id, outcome: 'succeeded', end: { exitCode: 0, signal: null }, reason: null, epoch: 1 },
    ...{ worker: 'x', finishedAt: new Date().toISOString(), logs: null, outputs: foreign },
  });
  await stack.worker('one');
  await expect
    .poll(async () => (await stack.record(id)).problem ?? '', { timeout: 60_000 })
    .toMatch(/is not this job's result/);
  await rm(at(storeKeys.result(id)));
  await stack.until(id, { state: 'succeeded', problem: null });
});

async function toVersion3(id: string, checkpoint: string): Promise<void> {
  const { home: _, ...manifestOfNow } = Manifest.parse(await readJson(manifest(id, checkpoint)));
  const { encryption } = manifestOfNow;
  if (!encryption) throw new Error('It is not encrypted.');
  const keys = subKeysOf(await KeyRing.of(encryptionKeys).unwrap(encryption));
  const old = signManifest(keys.manifest, { ...manifestOfNow, version: 3, encryption }, storeKeys.checkpoints(id));
  await writeJson(manifest(id, checkpoint), old);
}

test('a job of before fences were signed goes on, and from then on all of it must be signed', async () => {
  const { id, first, second } = await freezeTwice('fail');
  // As the version before left it: nothing is signed, manifests are of version 3, and the record does not know of either.
  for (const checkpoint of [first, second]) await toVersion3(id, checkpoint);
  const { signature: _, ...fence } = await readJson(at(storeKeys.fence(id, 1)));
  await writeJson(at(storeKeys.fence(id, 1)), fence);
  await stack.redis.hdel(`{floe}:job:${id}`, 'signedFrom', 'checkpointIsEncrypted');
  const two = await stack.worker('two', { encryptionKeys });
  await stack.untilSteps(id, 3);
  expect((await stack.runs(id))[1]).toMatchObject({ thawedFrom: second, passedOver: [] });
  two.notify(DRAIN);
  await two.ended;
  expect(await stack.record(id)).toMatchObject({ signedFrom: 2, checkpointIsEncrypted: true });
  const path = at(storeKeys.fence(id, 2));
  const { signature: __, ...unsigned } = await readJson(path);
  await writeJson(path, unsigned);
  await stack.worker('three', { encryptionKeys });
  expect(await reasonOf(id)).toMatchObject({
    message: expect.stringMatching(/fence of run 2, the last one, is not authentic/),
  });
});
