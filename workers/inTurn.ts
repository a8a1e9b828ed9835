import type { LimitFunction } from 'p-limit';
import { unlessAborted } from './unlessAborted.ts';

/**
 * Does the work when the limit lets it. The wait for that ends when `signal` aborts, and then this rejects with its reason;
 * work that has begun is waited for.
 */
export async function inTurn<T>(limit: LimitFunction, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const begun = Promise.withResolvers<void>();
  let hasBegun = false;
  const done = limit(() => {
    signal.throwIfAborted();
    hasBegun = true;
    begun.resolve();
    return work();
  });
  await unlessAborted(signal, Promise.race([begun.promise, done])).catch((error: unknown) => {
    if (!hasBegun) throw error;
  });
  return done;
}
