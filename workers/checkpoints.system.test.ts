/** What becomes of a job's checkpoints, for real: damaged ones are passed over, sealed ones want their key, old ones go. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Codec } from '../freezer/checkpoint/codec.ts';
import { Manifest } from '../freezer/checkpoint/format.ts';
import { verifyCheckpoint } from '../freezer/checkpoint/verify.ts';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { sendRequest, storeKeys } from '../jobs/index.ts';
import { Stack } from './testing/stack.ts';

const DONE = /\ndone [0-9a-f]{16}\n$/;
const DRAIN = { kind: 'notice', source: 'test', deadlineAt: null } as const;
const newKey = () => randomBytes(32).toString('base64');

let stack: Stack;
beforeEach(async () => {
  stack = await Stack.open();
});
afterEach(() => stack[Symbol.asyncDispose]());

/** The job's checkpoints on the disk. */
const folderOf = (id: string) => join(stack.directory, 'store', storeKeys.checkpoints(id));
const filesOf = (id: string) => readdir(folderOf(id), { recursive: true }).catch(() => []);
const manifestsOf = async (id: string) =>
  (await filesOf(id)).filter((file) => file.startsWith('manifests/')).map((file) => file.slice(10, -5));
const readManifest = async (id: string, checkpoint: string) =>
  Manifest.parse(JSON.parse(await readFile(join(folderOf(id), `manifests/${checkpoint}.json`), 'utf8')));

/** `floe checkpoint`. Resolves to the checkpoint's id. */
async function takeCheckpoint(id: string): Promise<string> {
  const before = (await stack.record(id)).checkpoint;
  await sendRequest(stack.redis, { type: 'checkpoint', jobId: id });
  const newest = async () => (await stack.record(id)).checkpoint;
  await expect.poll(newest, { timeout: 60_000, interval: 50 }).not.toBe(before);
  return (await newest()) ?? '';
}

/** Two checkpoints of a job that a worker then gives back, the second of them incremental. */
async function freezeTwice(checkpoint: object = {}): Promise<{ id: string; first: string; second: string }> {
  const one = await stack.worker('one');
  const id = await stack.submitMemory(300, 30, { checkpoint });
  await stack.untilSteps(id, 3);
  const first = await takeCheckpoint(id);
  await stack.untilSteps(id, 3);
  one.notify(DRAIN);
  await one.ended;
  return { id, first, second: (await stack.record(id)).checkpoint ?? '' };
}

async function damage(id: string, prefix: string): Promise<void> {
  const found = (await filesOf(id)).find((file) => file.startsWith(prefix));
  await truncate(join(folderOf(id), found ?? 'no such file'), 100);
}

const passedOver = async (id: string) =>
  (await stack.events(id)).flatMap((event) => (event.type === 'passedOver' ? [event.checkpoint] : []));

describe('a job whose newest checkpoint is damaged', () => {
  test.for([
    ['manifest', (checkpoint: string) => `manifests/${checkpoint}.json`],
    ['index', (checkpoint: string) => `index/${checkpoint}`],
    ['own pack', (checkpoint: string) => `packs/${checkpoint}-`],
  ] as const)('in its %s is thawed from the one before', async ([, keyOf]) => {
    const { id, first, second } = await freezeTwice();
    await damage(id, keyOf(second));
    await stack.worker('two');
    await stack.until(id, { state: 'succeeded' });
    expect(await stack.keptLog(id)).toMatch(DONE);
    expect(await passedOver(id)).toEqual([second]);
    const run = (await stack.runs(id))[1];
    expect(run).toMatchObject({ thawedFrom: first, passedOver: [expect.stringContaining(second)] });
  });

  test.for([
    ['starts afresh', 'afresh', 'succeeded'],
    ['fails, if its policy says so,', 'fail', 'failed'],
  ] as const)('%s where both need the pack that is damaged', async ([, ifUnusable, state]) => {
    const { id, first, second } = await freezeTwice({ ifUnusable });
    const { base, packs } = await readManifest(id, second);
    expect({ base, keys: packs.map(({ key }) => key) }).toMatchObject({
      base: first,
      keys: expect.arrayContaining([expect.stringContaining(`packs/${first}-`)]),
    });
    await damage(id, `packs/${first}-`);
    await stack.worker('two');
    const { result } = await stack.until(id, { state });
    expect(await passedOver(id)).toEqual([second, first]);
    const [, run] = await stack.runs(id);
    if (ifUnusable === 'afresh') {
      expect(await stack.keptLog(id)).toMatch(DONE);
      expect(run).toMatchObject({ thawedFrom: null, passedOver: [expect.any(String), expect.any(String)] });
    } else {
      expect(run).toBeUndefined();
      expect(result?.reason).toMatchObject({ code: 'checkpointUnusable', message: expect.stringContaining(first) });
    }
  });
});

describe('a job whose checkpoints are encrypted', () => {
  test('waits for a worker that has the key, and is never started afresh', async () => {
    const encryptionKeys = [newKey()];
    const one = await stack.worker('one', { encryptionKeys });
    const checkpoint = { ifUnusable: 'afresh', ifNoWorkerFits: 'afresh', patienceMs: 0 } as const;
    const id = await stack.submitMemory(300, 30, { checkpoint });
    await stack.untilSteps(id, 3);
    one.notify(DRAIN);
    await one.ended;
    for (const [name, keys] of [
      ['without', []],
      ['other', [newKey()]],
    ] as const) {
      const unable = await stack.worker(name, { encryptionKeys: keys });
      const problem = new RegExp(`^${name}: The checkpoint is encrypted with the key .* Give that key too`);
      await expect.poll(async () => (await stack.record(id)).problem, { timeout: 60_000 }).toMatch(problem);
      unable.notify(DRAIN);
      await unable.ended;
    }
    expect(await passedOver(id)).toEqual([]);
    await stack.until(id, { state: 'frozen' });
    await stack.worker('two', { encryptionKeys: [newKey(), ...encryptionKeys] });
    await stack.until(id, { state: 'succeeded', problem: null, lostMs: 0, crashes: 0 });
    expect(await stack.keptLog(id)).toMatch(DONE);
    expect((await stack.runs(id)).map(({ worker }) => worker)).toEqual(['one', 'two']);
  });

  test('goes at once to an idle worker that has the key, whoever looks at it first', async () => {
    const encryptionKeys = [newKey()];
    const one = await stack.worker('one', { encryptionKeys });
    // Long enough for all the other workers to be there.
    const id = await stack.submitMemory(600, 30);
    await stack.untilSteps(id, 3);
    for (const name of ['two', 'three']) await stack.worker(name);
    await stack.worker('four', { encryptionKeys });
    one.notify(DRAIN);
    await stack.until(id, { state: 'succeeded', problem: null, lostMs: 0, crashes: 0 });
    expect((await stack.runs(id)).map(({ worker }) => worker)).toEqual(['one', 'four']);
    expect(await stack.queueEvents()).not.toContain('delayed');
  });

  /** Holds the content of a file that is gone in its memory, and proves at the end that it and the other are as they were. */
  const HOLDER = `
    $| = 1; $/ = undef;
    sub slurp { open my $file, '<', shift or die $!; binmode $file; <$file> }
    my $memory = slurp('forgotten'); unlink 'forgotten';
    for (1 .. 300) { print "step $_\\n"; select undef, undef, undef, 0.03 }
    print 'done ', unpack('%32C*', $memory), ' ', unpack('%32C*', slurp('kept')), "\\n"`;

  test.for([
    ['nothing of its memory and files can be read in the store', true],
    ['which can be read there without a key', false],
  ] as const)('%s', async ([, isEncrypted]) => {
    const keys = isEncrypted ? { encryptionKeys: [newKey()] } : {};
    const workspace = join(stack.directory, 'workspace');
    await mkdir(workspace);
    // Random bytes cannot be compressed, so zstd stores them as they are: they would be found.
    const contents = { forgotten: randomBytes(2 ** 20), kept: randomBytes(2 ** 20) };
    for (const [name, content] of Object.entries(contents)) await writeFile(join(workspace, name), content);
    const one = await stack.worker('one', keys);
    const id = await stack.submit({ command: ['perl', '-e', HOLDER] }, workspace);
    await stack.untilSteps(id, 3);
    one.notify(DRAIN);
    await one.ended;

    const names = (await filesOf(id)).filter((file) => /^\w+\/./.test(file));
    const stored = Buffer.concat(await Promise.all(names.map((name) => readFile(join(folderOf(id), name)))));
    for (const content of Object.values(contents)) {
      expect(stored.includes(content.subarray(2 ** 19, 2 ** 19 + 64))).toBe(!isEncrypted);
    }
    expect((await readManifest(id, (await stack.record(id)).checkpoint ?? '')).encryption !== null).toBe(isEncrypted);
    await stack.worker('two', keys);
    await stack.until(id, { state: 'succeeded', lostMs: 0 });
    const sum = (bytes: Buffer) => bytes.reduce((total, byte) => total + byte, 0);
    expect(await stack.keptLog(id)).toMatch(`\ndone ${sum(contents.forgotten)} ${sum(contents.kept)}\n`);
    expect((await stack.runs(id)).map(({ worker }) => worker)).toEqual(['one', 'two']);
  });
});

test.for([false, true])(
  'of many checkpoints the newest stay, and keepAtEnd %s says for how long',
  async (keepAtEnd) => {
    const verify = async (id: string, checkpoint: string) => {
      const codec = new Codec(null);
      const parts = { store: stack.store, prefix: storeKeys.checkpoints(id), keyRing: KeyRing.of(), codec };
      expect(await verifyCheckpoint({ ...parts, id: checkpoint })).toMatchObject({ damages: [], hits: [] });
    };
    const one = await stack.worker('one');
    const id = await stack.submitMemory(1_000_000, 30, { checkpoint: { everyMs: 0, keep: 2, keepAtEnd } });
    await stack.untilSteps(id, 3);
    const taken: string[] = [];
    for (let count = 0; count < 5; count++) taken.push(await takeCheckpoint(id));
    const untilKept = (ids: string[]) => expect.poll(() => manifestsOf(id), { timeout: 30_000 }).toEqual(ids);
    await untilKept(taken.slice(-2));
    for (const checkpoint of taken.slice(-2)) await verify(id, checkpoint);

    one.notify(DRAIN);
    await one.ended;
    const frozen = (await stack.record(id)).checkpoint ?? '';
    await stack.worker('two');
    await stack.untilSteps(id, 3);
    expect((await stack.runs(id))[1]).toMatchObject({ thawedFrom: frozen, passedOver: [] });
    const next = await takeCheckpoint(id);
    await untilKept([frozen, next]);
    await sendRequest(stack.redis, { type: 'cancel', jobId: id });
    await stack.until(id, { state: 'cancelled', lostMs: 0 });
    if (keepAtEnd) {
      await untilKept([frozen, next]);
      for (const checkpoint of [frozen, next]) await verify(id, checkpoint);
    } else {
      const left = () => Array.fromAsync(stack.store.list(storeKeys.checkpoints(id)));
      await expect.poll(left, { timeout: 30_000 }).toEqual([]);
    }
  },
);
