/** Connections to Redis: the one configured, or the embedded server's. */
import { Redis, type RedisOptions } from 'ioredis';
import { hideCredentials } from '../base/redact.ts';
import type { Config } from './config.ts';
import { ensureEmbeddedRedis } from './embeddedRedis.ts';
import { FloeError } from './errors.ts';

export type RedisConfig = Pick<Config, 'redisUrl' | 'stateDir'>;

/**
 * What a connection does while Redis is away, once it has been there:
 * - `fail`: a command rejects at once (`asRedisError` tells why); for producers, who can tell their caller.
 * - `wait`: commands wait for its return; for workers and for those that follow something.
 */
export type WhenLost = 'fail' | 'wait';

const CONNECT_TIMEOUT_MS = 5000;
const LONGEST_PAUSE_MS = 2000;

/**
 * Resolves once Redis answers; starts the embedded server if it is the one meant and does not run. The first connection
 * fails fast in either mode. BullMQ workers need `wait`. Close it by `disconnect()` or `quit()`.
 *
 * Throws `FloeError` `redisUnreachable` or `redisRefused` (wrong or missing credentials).
 */
export async function connectRedis(config: RedisConfig, options: { whenLost: WhenLost }): Promise<Redis> {
  const url = config.redisUrl ?? (await ensureEmbeddedRedis(config.stateDir));
  return connectTo(url, options);
}

/** As `connectRedis`, to an address: `redis://…`, `rediss://…` or `unix:///path/of/socket`. */
export async function connectTo(url: string, options: { whenLost: WhenLost }): Promise<Redis> {
  let reason: unknown;
  const settings = {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    enableOfflineQueue: options.whenLost === 'wait',
    maxRetriesPerRequest: options.whenLost === 'wait' ? null : 0,
    // The first connection is not tried again: `connect` rejects before this is asked.
    retryStrategy: (times: number) => Math.min(50 * 2 ** times, LONGEST_PAUSE_MS),
  } satisfies RedisOptions;
  const redis = url.startsWith('unix://')
    ? new Redis({ ...settings, path: decodeURI(url.slice('unix://'.length)) })
    : new Redis(url, settings);
  // ioredis reports why a connection failed here alone; the promise only says that it is closed.
  redis.on('error', (error) => {
    reason = withoutArguments(error);
  });
  try {
    await redis.connect();
    await redis.ping();
    // A database number that does not exist is reported as an event alone; the connection would go on in database 0.
    if (reason) throw reason;
  } catch (error) {
    redis.disconnect();
    throw asRedisError(reason ?? error, url) ?? error;
  }
  return redis;
}

/** Errors with which Redis refuses a client, by the beginning of its answer (RESP's error prefix), in plain words. */
const REFUSALS: [RegExp, string][] = [
  [/^NOAUTH/, 'it asks for a password'],
  [/^(WRONGPASS|ERR invalid password)/, 'wrong user or password'],
  [/^ERR (Client sent )?AUTH/, 'it was given a password and has none'],
  [/^NOPERM/, 'this user may not run a command that Floe needs'],
  [/^ERR DB index/, 'it has no database of that number'],
];
const UNREACHABLE_CODES = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EPIPE',
  'ENOENT',
  'EACCES',
];
/** What ioredis rejects commands with when there is no connection; these errors have no code. */
const UNREACHABLE_MESSAGES = /^(Connection is closed|Stream isn't writeable|Reached the max retries|Command timed out)/;

/** The `FloeError` for an error of a Redis client, or null when it is something else. */
export function asRedisError(error: unknown, url: string | null): FloeError | null {
  if (!(error instanceof Error)) return null;
  withoutArguments(error);
  const address = url === null ? "Floe's own Redis" : `Redis at ${hideCredentials(url)}`;
  const refusal = REFUSALS.find(([pattern]) => pattern.test(error.message))?.[1];
  if (refusal) {
    return new FloeError(
      'redisRefused',
      `${address} refuses the connection: ${refusal}.`,
      'Correct user, password and database in FLOE_REDIS_URL.',
      { cause: error },
    );
  }
  const code = 'code' in error ? String(error.code) : '';
  if (!UNREACHABLE_CODES.includes(code) && !UNREACHABLE_MESSAGES.test(error.message)) return null;
  return new FloeError(
    'redisUnreachable',
    `${address} cannot be reached: ${error.message.replace(/\.$/, '')}.`,
    'Start it, or correct FLOE_REDIS_URL.',
    { cause: error },
  );
}

/**
 * ioredis attaches the command that failed: for AUTH and HELLO its arguments are the password, for others the data of a job.
 * They are taken away here, before somebody prints the error or passes it on as a cause.
 */
function withoutArguments<T>(error: T): T {
  if (error instanceof Error && 'command' in error) Reflect.deleteProperty(error, 'command');
  return error;
}
