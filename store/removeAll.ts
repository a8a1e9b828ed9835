/** Removes everything under a prefix, whatever it is. */
import type { Cancellable, Store } from './store.ts';

/** Keys that are asked to go in one call. */
const BATCH_LENGTH = 1000;

/** In ascending order of keys. Rejects with `StoreError`; done again, it goes on where it stopped. */
export async function removeAll(
  store: Store,
  prefix: string,
  options: Cancellable = {},
): Promise<{ objects: number; sizeBytes: number }> {
  const found = await Array.fromAsync(store.list(prefix, options));
  for (let at = 0; at < found.length; at += BATCH_LENGTH) {
    const keys = found.slice(at, at + BATCH_LENGTH).map(({ key }) => key);
    await store.delete(keys, options);
  }
  return { objects: found.length, sizeBytes: found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
}
