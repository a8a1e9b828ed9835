/** What manifests that somebody else has put there do to those who read them. */
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { Store } from '../../store/store.ts';
import { listCheckpoints } from './catalogue.ts';
import { checkpointId, checkpointKeys, MOST_MANIFEST_BYTES, MOST_MANIFESTS, MOST_MANIFESTS_BYTES } from './format.ts';
import { readHoldings } from './retention.ts';

const PREFIX = 'jobs/a/checkpoints/';

/** With so many manifests, each of which is `content`; the list says of all that they have one byte. */
function hostileStore(count: number, content: Buffer) {
  const seen = { reads: 0, atOnce: 0, mostAtOnce: 0 };
  async function* bytes() {
    seen.mostAtOnce = Math.max(seen.mostAtOnce, ++seen.atOnce);
    try {
      await new Promise(setImmediate);
      yield content;
    } finally {
      seen.atOnce--;
    }
  }
  const store: Pick<Store, 'list' | 'getStream'> = {
    async *list(prefix) {
      if (!prefix.endsWith(checkpointKeys.manifests)) return;
      for (let at = 1; at <= count; at++)
        yield { key: PREFIX + checkpointKeys.manifest(checkpointId(1, at)), sizeBytes: 1, modifiedAt: new Date(0) };
    },
    async getStream() {
      seen.reads++;
      return Readable.from(bytes());
    },
  };
  return { store: store as Store, seen };
}

const READERS = { listCheckpoints, readHoldings };

test.for(Object.entries(READERS))('%s reads a few at once, and no more than a job can have', async ([, read]) => {
  const large = Buffer.alloc(MOST_MANIFEST_BYTES, ' ');
  const { store, seen } = hostileStore(1000, large);
  await expect(read(store, PREFIX)).rejects.toMatchObject({
    code: 'damaged',
    remedy: expect.stringContaining('remove'),
  });
  expect(seen.mostAtOnce).toBeLessThanOrEqual(8);
  expect(seen.reads).toBeLessThanOrEqual(MOST_MANIFESTS_BYTES / MOST_MANIFEST_BYTES + 8);
});

test.for(Object.entries(READERS))('%s reads none of more than a job can have', async ([, read]) => {
  const { store, seen } = hostileStore(MOST_MANIFESTS + 1, Buffer.from('{}'));
  await expect(read(store, PREFIX)).rejects.toMatchObject({ code: 'damaged' });
  expect(seen.reads).toBe(0);
});

test('one that is all empty objects is corrupt before it is parsed', async () => {
  const { store } = hostileStore(1, Buffer.from(`[${'{},'.repeat(2 ** 20)}{}]`));
  const { answers } = await readHoldings(store, PREFIX);
  expect(answers.get(checkpointId(1, 1))).toMatchObject({
    kind: 'corrupt',
    reason: expect.stringContaining('objects'),
  });
});
