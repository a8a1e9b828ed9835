/** The contract of `Store`, as a test suite that every driver has to pass. */
import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store, StoreErrorCode } from './store.ts';

/**
 * @param openFresh opens an empty store; the suite closes it
 * @param keysInPages how many keys to list at least; by default more than S3 puts in one page
 */
export function describeStore(name: string, openFresh: () => Promise<Store>, keysInPages = 1_025): void {
  describe(`the contract, kept by ${name}`, () => {
    let store: Store;
    beforeAll(async () => {
      store = await openFresh();
    });
    afterAll(() => store[Symbol.asyncDispose]());

    describeWriting(() => store);
    describeStreams(() => store);
    describeReading(() => store);
    describeListing(() => store, keysInPages);
    describeBadInput(() => store);
  });
}

/** Asserts on a `StoreError`'s code, and that it says what to do. */
export async function expectStoreError(work: Promise<unknown>, code: StoreErrorCode): Promise<Error> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: 'StoreError', code, remedy: expect.stringMatching(/\.$/) });
  return error as Error;
}

export async function keysOf(store: Store, prefix: string): Promise<string[]> {
  return (await Array.fromAsync(store.list(prefix))).map(({ key }) => key);
}

function describeWriting(store: () => Store): void {
  it('gives back every byte value, in parts joined in order', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
    const parts = [
      bytes.subarray(0, 100),
      new Uint8Array(0),
      new Uint8Array(bytes.subarray(100, 101)),
      bytes.subarray(101),
    ];
    await store().create('write/parts', parts);
    await store().create('write/one', bytes);
    expect(await store().get('write/parts')).toEqual(bytes);
    expect(await store().get('write/one')).toEqual(bytes);
  });

  it('keeps an empty object apart from none', async () => {
    await store().create('write/empty', new Uint8Array(0));
    await store().create('write/empty-parts', []);
    expect(await store().get('write/empty')).toHaveLength(0);
    expect(await store().get('write/empty-parts')).toHaveLength(0);
    await expectStoreError(store().get('write/none'), 'notFound');
  });

  it('refuses to create what is there and leaves it alone', async () => {
    await store().create('write/once', Buffer.from('first'));
    await expectStoreError(store().create('write/once', Buffer.from('second')), 'exists');
    await expectStoreError(store().create('write/once', Buffer.from('first')), 'exists');
    expect(String(await store().get('write/once'))).toBe('first');
  });

  it('lets exactly one of sixteen racing writers create, and keeps its bytes', async () => {
    for (const round of [1, 2, 3]) {
      const bodies = Array.from({ length: 16 }, () => randomBytes(100_000));
      const results = await Promise.allSettled(bodies.map((body) => store().create(`race/${round}`, body)));
      const winners = bodies.filter((_, index) => results[index]?.status === 'fulfilled');
      const losers = results.filter((result) => result.status === 'rejected');
      expect(winners).toHaveLength(1);
      for (const { reason } of losers) expect(reason).toMatchObject({ code: 'exists' });
      expect((await store().get(`race/${round}`)).equals(winners[0] as Buffer)).toBe(true);
    }
  });

  it('lets a key be created again after it was deleted', async () => {
    await store().create('again/a', Buffer.from('1'));
    await store().delete(['again/a', 'again/never-there', 'not/even/the/folder']);
    await expectStoreError(store().get('again/a'), 'notFound');
    await store().create('again/a', Buffer.from('2'));
    expect(String(await store().get('again/a'))).toBe('2');
  });

  it('survives deletions and creations side by side in one folder', async () => {
    const rounds = Array.from({ length: 20 }, (_, index) => index);
    await Promise.all(
      rounds.map(async (index) => {
        await store().create(`side/by/side/${index}`, Buffer.from([index]));
        await store().delete([`side/by/side/${index}`]);
      }),
    );
    expect(await keysOf(store(), 'side/')).toEqual([]);
  });

  it('checks that it works and leaves nothing behind', async () => {
    await store().check();
    expect(await keysOf(store(), '.')).toEqual([]);
  });
}

function describeStreams(store: () => Store): void {
  it('stores streams of any size and replaces what was there', async () => {
    for (const sizeBytes of [70 * 2 ** 20 + 1, 1, 0]) {
      const block = randomBytes(2 ** 20);
      const content = Buffer.alloc(sizeBytes, block);
      expect(await store().putStream('stream/replaced', Readable.from(slices(content)))).toEqual({ sizeBytes });
      expect((await store().get('stream/replaced')).equals(content)).toBe(true);
      const streamed = await (await store().getStream('stream/replaced')).toArray();
      expect(Buffer.concat(streamed).equals(content)).toBe(true);
    }
  });

  it.each([0, 40 * 2 ** 20])('shows nothing of a stream that fails after %i bytes', async (sizeBytes) => {
    await store().putStream('stream/kept', Readable.from([Buffer.from('old')]));
    for (const key of ['stream/failed', 'stream/kept']) {
      await expectStoreError(store().putStream(key, Readable.from(failing(sizeBytes))), 'failed');
    }
    expect(await keysOf(store(), 'stream/failed')).toEqual([]);
    expect(String(await store().get('stream/kept'))).toBe('old');
  });

  it('rejects with the reason of an abort, and shows nothing', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const endless = new PassThrough();
    const { signal } = controller;
    const writing = store().putStream('stream/aborted', endless, { signal });
    endless.write(randomBytes(1000), () => controller.abort(reason));
    await expect(writing).rejects.toBe(reason);
    expect(endless.destroyed).toBe(true);
    await expect(store().create('stream/aborted', Buffer.from('x'), { signal })).rejects.toBe(reason);
    await expect(store().putStream('stream/aborted', Readable.from([]), { signal })).rejects.toBe(reason);
    await expect(store().get('stream/replaced', { signal })).rejects.toBe(reason);
    await expect(store().getStream('stream/replaced', { signal })).rejects.toBe(reason);
    await expect(Array.fromAsync(store().list('', { signal }))).rejects.toBe(reason);
    expect(await keysOf(store(), 'stream/aborted')).toEqual([]);
  });

  it('ends a stream that is being read when it is aborted', async () => {
    const controller = new AbortController();
    await store().putStream('stream/long', Readable.from(slices(Buffer.alloc(20 * 2 ** 20))));
    const stream = await store().getStream('stream/long', { signal: controller.signal });
    const reading = (async () => {
      for await (const _ of stream) controller.abort(new Error('enough'));
    })();
    await expect(reading).rejects.toThrow('enough');
  });

  it('says so when there is nothing to stream', async () => {
    await expectStoreError(store().getStream('stream/none'), 'notFound');
  });
}

function describeReading(store: () => Store): void {
  const content = randomBytes(10_000);
  beforeAll(() => store().create('read/object', content));

  it.each([
    [0, 10_000],
    [0, 1],
    [9_999, 1],
    [1_234, 4_321],
    [5_000, 0],
    [10_000, 0],
  ])('reads a range: %i + %i bytes', async (offsetBytes, lengthBytes) => {
    const range = { offsetBytes, lengthBytes };
    expect(await store().get('read/object', { range })).toEqual(
      content.subarray(offsetBytes, offsetBytes + lengthBytes),
    );
  });

  it.each([
    [0, 10_001],
    [9_999, 2],
    [10_000, 1],
    [20_000, 5],
    [10_001, 0],
  ])('calls an object damaged that ends before the range: %i + %i bytes', async (offsetBytes, lengthBytes) => {
    await expectStoreError(store().get('read/object', { range: { offsetBytes, lengthBytes } }), 'damaged');
  });

  it('has no range of what is not there', async () => {
    for (const lengthBytes of [0, 1]) {
      await expectStoreError(store().get('read/none', { range: { offsetBytes: 0, lengthBytes } }), 'notFound');
    }
  });
}

function describeListing(store: () => Store, keysInPages: number): void {
  it('lists in byte order of the whole key, folders or not', async () => {
    const keys = [
      'order/B',
      'order/a',
      'order/a-b',
      'order/a.b',
      'order/aa/x',
      'order/a0',
      'order/b/c/d',
      'order/b/c-d',
    ];
    const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const key of keys) await store().create(key, Buffer.from(key));
    const listed = await Array.fromAsync(store().list('order/'));
    expect(listed.map(({ key }) => key)).toEqual(sorted);
    for (const { key, sizeBytes, modifiedAt } of listed) {
      expect(sizeBytes).toBe(key.length);
      expect(Math.abs(Date.now() - modifiedAt.getTime())).toBeLessThan(3600_000);
    }
    expect(await keysOf(store(), 'order/a')).toEqual(sorted.filter((key) => key.startsWith('order/a')));
    expect(await keysOf(store(), 'order/b/c')).toEqual(['order/b/c-d', 'order/b/c/d']);
    expect(await keysOf(store(), 'order/b/c/')).toEqual(['order/b/c/d']);
    expect(await keysOf(store(), 'order/none')).toEqual([]);
    expect(await keysOf(store(), 'order/B/none')).toEqual([]);
  });

  it('lists and deletes more keys than fit in one page', async () => {
    const keys = Array.from({ length: keysInPages }, (_, index) => `many/${String(index).padStart(4, '0')}`);
    const waiting = [...keys];
    const writer = async () => {
      for (let key = waiting.pop(); key; key = waiting.pop()) await store().create(key, Buffer.from('x'));
    };
    await Promise.all(Array.from({ length: 16 }, writer));
    expect(await keysOf(store(), 'many/')).toEqual(keys);
    await store().delete(keys);
    expect(await keysOf(store(), 'many/')).toEqual([]);
  });
}

function describeBadInput(store: () => Store): void {
  const badKeys = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/../b',
    './a',
    'a b',
    'ä',
    'a\0',
    'a~',
    'a\\b',
    '%2e%2e/a',
    'a\n',
  ];
  it.each([...badKeys, 'x'.repeat(251), 'x/'.repeat(500)])('refuses the key %j', async (key) => {
    await expectStoreError(store().create(key, Buffer.from('x')), 'invalid');
    await expectStoreError(store().get(key), 'invalid');
    await expectStoreError(store().delete(['fine', key]), 'invalid');
    await expectStoreError(store().putStream(key, Readable.from([])), 'invalid');
    await expectStoreError(store().getStream(key), 'invalid');
  });

  it.each(['/', '../', 'a/../', 'a//', 'a b'])('refuses the prefix %j', async (prefix) => {
    await expectStoreError(keysOf(store(), prefix), 'invalid');
  });

  it.each([
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [Number.NaN, 1],
    [0, Number.POSITIVE_INFINITY],
  ])('refuses the range %d + %d', async (offsetBytes, lengthBytes) => {
    await expectStoreError(store().get('read/object', { range: { offsetBytes, lengthBytes } }), 'invalid');
  });
}

function* slices(content: Buffer): Generator<Buffer> {
  for (let start = 0; start < content.length; start += 300_000) yield content.subarray(start, start + 300_000);
}

async function* failing(afterBytes: number): AsyncGenerator<Buffer> {
  yield* slices(Buffer.alloc(afterBytes));
  throw new Error('the source broke');
}
