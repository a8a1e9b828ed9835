/** What a store promises and `check` does not try: that of several writers of one key one wins, and what its clock says. */
import { randomUUID } from 'node:crypto';
import { type Store, StoreError } from './store.ts';

export interface StoreProbe {
  /** Writers of one key that were told that they created it. One is right; more mean that two workers can own one job. */
  readonly winners: number;
  /** How far the store's clock is ahead of this machine's, negative when behind. As exact as the store's times, on S3 1 s. */
  readonly clockAheadMs: number;
}

/**
 * Lets `writers` create one new object at the same moment, and removes it again. Throws `StoreError` when a writer fails
 * otherwise than by being second.
 */
export async function probeStore(store: Store, writers = 16): Promise<StoreProbe> {
  const key = `doctor/${randomUUID()}`;
  try {
    const startedAt = Date.now();
    const bodies = Array.from({ length: writers }, (_, writer) => Buffer.from(String(writer)));
    const won = await Promise.all(bodies.map((body) => isFirst(store, key, body)));
    return { winners: won.filter(Boolean).length, clockAheadMs: await clockAhead(store, key, startedAt) };
  } finally {
    await store.delete([key]);
  }
}

async function isFirst(store: Store, key: string, body: Buffer): Promise<boolean> {
  try {
    await store.create(key, body);
    return true;
  } catch (error) {
    if (error instanceof StoreError && error.code === 'exists') return false;
    throw error;
  }
}

/** The object was written between `startedAt` and now: what is within that is no difference. */
async function clockAhead(store: Store, key: string, startedAt: number): Promise<number> {
  for await (const { modifiedAt } of store.list(key)) {
    const writtenAt = modifiedAt.getTime();
    return Math.max(0, writtenAt - Date.now()) || Math.min(0, writtenAt - startedAt);
  }
  throw new StoreError(
    'damaged',
    `The store ${store.url} does not list an object that it has just taken.`,
    'Use a store whose listings show every completed write, as S3 does.',
  );
}
