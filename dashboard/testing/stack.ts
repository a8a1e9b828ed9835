/** A dashboard on a real Redis and a real store, for one test file. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { openStore, type Store } from '../../store/index.ts';
import { startRedis, type TestRedis } from '../../test/support/redis.ts';
import { type Dashboard, startDashboard } from '../index.ts';

export const OPERATOR = 'operator password';
export const READER = 'read-only password';

export interface Stack extends AsyncDisposable {
  server: TestRedis;
  redis: Redis;
  store: Store;
  dashboard: Dashboard;
}

export async function startStack(): Promise<Stack> {
  await using undo = new AsyncDisposableStack();
  const server = undo.use(await startRedis());
  const redis = undo.adopt(new Redis(server.url), (client) => client.disconnect());
  redis.on('error', () => undefined); // tests stop the server
  const folder = await mkdtemp(join(tmpdir(), 'floe-test-dashboard-'));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const store = undo.use(await openStore(pathToFileURL(folder).href));
  const options = { redisUrl: server.url, stateDir: folder, store };
  const dashboard = undo.use(await startDashboard({ ...options, password: OPERATOR, readOnlyPassword: READER }));
  const all = undo.move();
  return { server, redis, store, dashboard, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
