/**
 * The Redis that Floe starts for itself when none is configured: append-only file, no eviction, reachable through a
 * socket in a folder that only its owner can enter. A socket rather than a port, because its address follows from the
 * state folder: nothing to pick, to write down, to protect by a password, or to find taken after a reboot.
 *
 * It outlives the command that starts it. It runs under flock(1), which lets the server itself inherit the lock: of
 * two commands that start one at the same moment one server remains, and no lock is ever left behind by a crash.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { FloeError } from './errors.ts';

const START_TIMEOUT_MS = 15_000;
/** sun_path of unix(7) has 108 bytes, one of them for the end. */
const LONGEST_SOCKET_PATH = 107;
/** flock(1)'s exit status when somebody else holds the lock; any number that redis-server does not use. */
const LOCKED = 75;

/** The address of the embedded server of this state folder, running or not. */
export function embeddedRedisUrl(stateDir: string): string {
  return `unix://${encodeURI(socketPath(stateDir))}`;
}

/**
 * Starts the server unless it runs, and resolves to its address once it answers. Throws `FloeError` `redisUnreachable` when no
 * server is installed or it does not start, `invalidOption` when the state folder cannot be used.
 */
export async function ensureEmbeddedRedis(stateDir: string): Promise<string> {
  const path = socketPath(stateDir);
  if (await answers(path)) return embeddedRedisUrl(stateDir);
  const folder = join(stateDir, 'redis');
  await makeFolder(folder, path);
  const server = startServer(folder, path);
  const ended = whenEnded(server);
  const deadline = AbortSignal.timeout(START_TIMEOUT_MS);
  while (!(await answers(path))) {
    // A server that ends because of the lock leaves the start to the holder of the lock.
    const end = await Promise.race([ended, pause(50, null)]);
    if ((end && end.code !== LOCKED) || deadline.aborted) throw await didNotStart(folder, end?.error);
    if (end) await pause(50);
  }
  server.unref();
  return embeddedRedisUrl(stateDir);
}

/** Ends the server after it has written everything down. False when none ran. */
export async function stopEmbeddedRedis(stateDir: string): Promise<boolean> {
  const redis = await tryConnect(socketPath(stateDir));
  if (!redis) return false;
  const closed = once(redis, 'end');
  // The server answers a SHUTDOWN that works by closing the connection, which rejects the command.
  const refused = await redis.shutdown().then(
    () => undefined,
    (error: Error) => (/^ERR/.test(error.message) ? error : undefined),
  );
  if (refused) throw refused;
  await closed;
  return true;
}

function socketPath(stateDir: string): string {
  return join(stateDir, 'redis', 'socket');
}

async function answers(path: string): Promise<boolean> {
  const redis = await tryConnect(path);
  redis?.disconnect();
  return redis !== null;
}

/** A connection to a server that has loaded its data, or null. */
async function tryConnect(path: string): Promise<Redis | null> {
  const redis = new Redis({ path, lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  redis.on('error', () => undefined); // the rejection below says all that matters: it does not answer
  try {
    await redis.connect();
    return redis;
  } catch {
    return null;
  }
}

function startServer(folder: string, socket: string) {
  const settings: Record<string, string> = {
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    dir: folder,
    logfile: join(folder, 'log'),
    appendonly: 'yes',
    save: '',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
  };
  const server = findServer();
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const lock = ['--exclusive', '--nonblock', '--no-fork', '--conflict-exit-code', String(LOCKED), join(folder, 'lock')];
  return spawn('flock', [...lock, server, ...flags], { cwd: folder, detached: true, stdio: 'ignore' });
}

async function whenEnded(server: ChildProcess): Promise<{ code: number | null; error?: Error }> {
  const failed = once(server, 'error').then(([error]) => ({ code: null, error: error as Error }));
  const exited = once(server, 'exit').then(
    ([code]) => ({ code: code as number | null }),
    () => failed,
  );
  return Promise.race([failed, exited]);
}

function findServer(): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin'];
  for (const name of ['redis-server', 'valkey-server']) {
    const found = folders.map((folder) => join(folder || '.', name)).find(isExecutable);
    if (found) return found;
  }
  throw new FloeError(
    'redisUnreachable',
    'No Redis is configured, and neither redis-server nor valkey-server is installed.',
    'Install one of them, or set FLOE_REDIS_URL.',
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function makeFolder(folder: string, socket: string): Promise<void> {
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_PATH) {
    throw new FloeError(
      'invalidOption',
      `The state folder's path is too long for a socket in it: ${socket} has more than ${LONGEST_SOCKET_PATH} bytes.`,
      'Choose a shorter one with FLOE_STATE_DIR, or set FLOE_REDIS_URL.',
    );
  }
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw new FloeError(
      'invalidOption',
      `The state folder cannot be used: ${cause instanceof Error ? cause.message : String(cause)}.`,
      'Choose another with FLOE_STATE_DIR.',
      { cause },
    );
  }
}

async function didNotStart(folder: string, cause: Error | undefined): Promise<FloeError> {
  const log = join(folder, 'log');
  const text = await readFile(log, 'utf8').catch(() => ''); // it may have ended before it had a log
  const lines = text.trimEnd().split('\n').slice(-200);
  const said = cause?.message ?? lines.findLast((line) => line.includes(' # ')) ?? lines.at(-1);
  return new FloeError(
    'redisUnreachable',
    `Floe's own Redis does not start: ${said?.trim() || 'it ended without a word'}.`,
    `See ${log}, or set FLOE_REDIS_URL to another server.`,
    cause ? { cause } : {},
  );
}
