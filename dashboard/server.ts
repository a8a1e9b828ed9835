/** Puts the dashboard together and listens. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import express, { type Express, type RequestHandler } from 'express';
import type { Redis } from 'ioredis';
import { type Logger, pino } from 'pino';
import { keepSecret } from '../base/redact.ts';
import { asRedisError, connectRedis, FloeError, type RedisConfig } from '../jobs/index.ts';
import { Passwords } from './accounts.ts';
import { actionRoutes, type CancelJob } from './actions.ts';
import { assetRoutes } from './assets.ts';
import { BOARD_PATH, boardRoutes } from './board.ts';
import { answerFailures, answerInTime, notFound } from './failures.ts';
import { loginRoutes } from './loginRoutes.ts';
import { pageRoutes, type ReadableStore } from './pages.ts';
import { Pools } from './pools.ts';
import { requireOperator, requireSameOrigin, requireSession, securityHeaders } from './security.ts';
import { Sessions } from './session.ts';

export interface DashboardOptions extends RedisConfig {
  /** Where inputs and outputs are. Stays the caller's to close. */
  store: ReadableStore;
  /** Default 127.0.0.1. */
  host?: string | undefined;
  /** Default 0: any free one. */
  port?: number | undefined;
  /** Operators' password. Default: generated. */
  password?: string | undefined;
  /** Default: nobody can log in read-only. */
  readOnlyPassword?: string | undefined;
  /** How operators cancel. Default: by a request in the job's record, which the worker that has or next takes it obeys. */
  cancel?: CancelJob | undefined;
  /**
   * Reverse proxies that are believed when they say who asks, and how (`X-Forwarded-For`, `-Proto`): how many there are in
   * front, `true` for one, or their addresses and networks (`10.0.0.0/8`, `loopback`, `linklocal`, `uniquelocal`).
   * Default: nobody is believed.
   */
  trustProxy?: boolean | number | readonly string[] | undefined;
  /** Default: silent. */
  log?: Logger | undefined;
}

export interface Dashboard extends AsyncDisposable {
  /** `http://host:port`, without a slash at the end. */
  readonly url: string;
  /** The operators' password when it was generated; undefined when it was given. */
  readonly password: string | undefined;
  close(): Promise<void>;
}

/**
 * Resolves once it answers. Throws `FloeError`: `invalidOption` for passwords that cannot be used or an address that cannot
 * be listened on, `redisUnreachable` or `redisRefused`. A Redis that goes away later is waited for, with a page that says so.
 */
export async function startDashboard(options: DashboardOptions): Promise<Dashboard> {
  const log = options.log ?? pino({ level: 'silent' });
  const passwords = new Passwords(options);
  keepSecret(...[options.password, options.readOnlyPassword, passwords.generated].filter((text) => text !== undefined));
  const redis = await connectRedis(options, { whenLost: 'fail' });
  // Every queue listens on the one connection, and there may be many pools.
  redis.setMaxListeners(0);
  reportOutages(redis, log);
  const pools = new Pools(redis, (error) => log.debug({ err: error }, 'a queue lost its connection'));
  const server = createServer(SERVER_LIMITS, buildApp({ options, log, passwords, redis, pools }));
  server.maxConnections = MOST_CONNECTIONS;
  const close = async () => {
    await closeServer(server);
    await pools[Symbol.asyncDispose]();
    redis.disconnect();
  };
  try {
    const host = options.host ?? '127.0.0.1';
    const url = await listen(server, host, options.port ?? 0);
    if (!isLoopback(host) && trustedProxies(options) === false) log.warn({ host }, UNPROTECTED);
    return { url, password: passwords.generated, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/** Clients that take longer to say what they want are cut off: connections that are held open would keep others out. */
const SERVER_LIMITS = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 2000 };
const MOST_CONNECTIONS = 1000;

const UNPROTECTED =
  'passwords and sessions cross the network unencrypted, unless a proxy with TLS is in front: see dashboard.trustProxy';

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** As Express takes it. */
function trustedProxies({ trustProxy = false }: DashboardOptions): false | number | string[] {
  if (trustProxy === false || trustProxy === 0) return false;
  if (typeof trustProxy === 'object') return [...trustProxy];
  return Number(trustProxy);
}

/** One line when Redis goes and one when it is back, not one for each attempt in between. */
function reportOutages(redis: Redis, log: Logger): void {
  let away = false;
  redis.on('error', (error) => {
    if (!away) log.warn({ err: error }, 'the connection to Redis failed');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info('Redis is back');
    away = false;
  });
}

function buildApp(parts: {
  options: DashboardOptions;
  log: Logger;
  passwords: Passwords;
  redis: Redis;
  pools: Pools;
}): Express {
  const { options, log, passwords, redis, pools } = parts;
  const sessions = new Sessions();
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', trustedProxies(options));
  app.use(securityHeaders(BOARD_PATH), answerInTime());
  app.get('/healthz', health(redis));
  app.use('/assets', assetRoutes());
  app.use(requireSameOrigin, loginRoutes(passwords, sessions));
  app.use(requireSession(sessions), requireOperator);
  app.use(pageRoutes(redis, pools, options.store), actionRoutes(redis, options.cancel));
  app.use(BOARD_PATH, boardRoutes(redis, pools));
  app.use(notFound, answerFailures(log));
  return app;
}

/** For load balancers and orchestrators, so without a login, and without saying more than whether it works. */
function health(redis: Redis): RequestHandler {
  return async (_request, response) => {
    try {
      await redis.ping();
      response.json({ ok: true });
    } catch (error) {
      const known = asRedisError(error, null);
      if (known === null) throw error;
      response.status(503).json({ ok: false, reason: known.code });
    }
  };
}

async function listen(server: Server, host: string, port: number): Promise<string> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FloeError(
      'invalidOption',
      `The dashboard cannot listen on ${host}:${port}: ${reason}.`,
      'Choose another host or port; port 0 takes any free one.',
      { cause: error },
    );
  }
  const address = server.address();
  if (address === null || typeof address === 'string') throw new FloeError('internal', 'No address.', 'Report this.');
  return `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`;
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
