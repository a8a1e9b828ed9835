/** Errors of Redis and of the store, as the `FloeError` that a caller is promised. */
import type { Config } from '../jobs/config.ts';
import { FloeError } from '../jobs/errors.ts';
import { asRedisError } from '../jobs/redis.ts';
import { StoreError } from '../store/store.ts';

export function asFloeError(error: unknown, config: Pick<Config, 'redisUrl'>): unknown {
  if (error instanceof FloeError) return error;
  if (error instanceof StoreError) {
    const message = error.message.endsWith('.') ? error.message : `${error.message}.`;
    return new FloeError('storeFailed', `The store says no: ${message}`, error.remedy, { cause: error });
  }
  return asRedisError(error, config.redisUrl) ?? error;
}
