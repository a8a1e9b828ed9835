/** A real Redis (or Valkey) server for tests, on a free port of 127.0.0.1, in a temporary folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

export interface TestRedis extends AsyncDisposable {
  /** Stays the same after `restart`. */
  readonly url: string;
  readonly port: number;
  /** Ends the server by SIGTERM, or by the signal given. What it kept is there again after `start`. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  start(): Promise<void>;
  restart(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a server with AOF on every write; `password`: what clients must give (default none). */
export async function startRedis(options: { password?: string } = {}): Promise<TestRedis> {
  return onFreePort(async (port) => {
    const redis = await prepareRedis(port, options);
    try {
      await redis.start();
      return redis;
    } catch (error) {
      await redis[Symbol.asyncDispose]();
      throw error;
    }
  });
}

async function prepareRedis(port: number, options: { password?: string }): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-test-redis-'));
  const credentials = options.password ? `:${options.password}@` : '';
  const url = `redis://${credentials}127.0.0.1:${port}/0`;
  let server: ChildProcess | undefined;

  const start = async () => {
    server = spawn('redis-server', serverArguments(port, folder, options.password), { stdio: 'ignore' });
    await answers(url, server, folder);
  };
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    await ended;
  };
  return {
    url,
    port,
    start,
    stop,
    async restart(signal) {
      await stop(signal);
      await start();
    },
    async [Symbol.asyncDispose]() {
      await stop('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Starts a server on a free port; on another when somebody was quicker, of which its error says "address already in use". */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await start(await freePort());
    } catch (error) {
      if (!(error instanceof Error && /address already in use/i.test(error.message))) throw error;
    }
  }
}

/** A port that nothing listens on at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('The probe socket has no port.');
  return address.port;
}

function serverArguments(port: number, folder: string, password: string | undefined): string[] {
  const settings: Record<string, string> = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    logfile: join(folder, 'log'),
    appendonly: 'yes',
    appendfsync: 'always',
    save: '',
    'maxmemory-policy': 'noeviction',
    ...(password ? { requirepass: password } : {}),
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/** Waits for its first answer; a server that ends instead, as where another has its port, is an error that shows its log. */
async function answers(url: string, server: ChildProcess, folder: string): Promise<void> {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => undefined); // refused until it listens
  const ended = once(server, 'exit').then(async () => {
    throw new Error(`redis-server ended: ${await readFile(join(folder, 'log'), 'utf8')}`);
  });
  try {
    const words = await Promise.race([client.info('server'), ended]);
    if (!words.includes(`process_id:${server.pid}\r\n`)) await ended;
  } finally {
    ended.catch(() => undefined); // it ends some day, and that is no longer of interest
    client.disconnect();
  }
}
