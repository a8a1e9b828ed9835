/** What a test of the producer API works on: a Redis, an empty store in a temporary folder, and a `Floe` on both. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { Floe } from '../../producers/index.ts';
import { startRedis, type TestRedis } from './redis.ts';
import { type StandInRun, startStandInWorker } from './standInWorker.ts';

export interface TestProducer {
  readonly redis: TestRedis;
  /** To look at what is in Redis, past the API. */
  readonly client: Redis;
  readonly folder: string;
  readonly store: string;
  readonly floe: Floe;
  /** A folder with `input.txt` in it. */
  makeWorkspace(): Promise<string>;
  /** A worker that "runs" jobs by this function. */
  work(run: (run: StandInRun) => Promise<void>): Promise<AsyncDisposable>;
}

/** Registers the hooks; the object is filled anew before every test. */
export function useProducer(): TestProducer {
  const parts = {} as { -readonly [K in keyof TestProducer]: TestProducer[K] };
  beforeAll(async () => {
    parts.redis = await startRedis();
    parts.client = new Redis(parts.redis.url);
    parts.client.on('error', () => undefined); // tests stop the server
  });
  afterAll(async () => {
    parts.client.disconnect();
    await parts.redis[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await parts.client.flushall();
    parts.folder = await mkdtemp(join(tmpdir(), 'floe-producer-'));
    parts.store = pathToFileURL(join(parts.folder, 'store')).href;
    parts.floe = await Floe.open({ redisUrl: parts.redis.url, store: parts.store });
  });
  afterEach(async () => {
    await parts.floe[Symbol.asyncDispose]();
    await rm(parts.folder, { recursive: true, force: true });
  });
  parts.makeWorkspace = async () => {
    const workspace = join(parts.folder, 'workspace');
    await mkdir(workspace);
    await writeFile(join(workspace, 'input.txt'), 'precious');
    return workspace;
  };
  parts.work = (run) => startStandInWorker({ redisUrl: parts.redis.url, store: parts.store, run });
  return parts;
}
