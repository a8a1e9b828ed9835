/** The dashboard as a process of its own. */
import { once } from 'node:events';
import { pino } from 'pino';
import { createLogger } from '../base/log.ts';
import type { Config } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import type { CancelJob } from './actions.ts';
import { startDashboard } from './server.ts';

export interface RunOptions {
  /** See `DashboardOptions.cancel`. */
  cancel?: CancelJob | undefined;
  /** Takes the lines for people: the address and, once, a generated password. Default: standard output. */
  print?: ((line: string) => void) | undefined;
  /** Ends it, as SIGTERM and SIGINT do. */
  signal?: AbortSignal | undefined;
}

/** Serves until SIGTERM, SIGINT or `signal`. Its log goes to standard error. Throws as `startDashboard` and `openStore` do. */
export async function runDashboard(config: Config, options: RunOptions = {}): Promise<void> {
  const print = options.print ?? ((line: string) => process.stdout.write(`${line}\n`));
  const log = createLogger({ level: config.logLevel }, pino.destination(2));
  await using store = await openStore(config.store);
  const { host, port, password, readOnlyPassword, trustProxy } = config.dashboard;
  await using dashboard = await startDashboard({
    redisUrl: config.redisUrl,
    stateDir: config.stateDir,
    store,
    host,
    port,
    password: password ?? undefined,
    readOnlyPassword: readOnlyPassword ?? undefined,
    trustProxy: trustProxy ?? undefined,
    cancel: options.cancel,
    log,
  });
  print(`Dashboard: ${dashboard.url}`);
  if (dashboard.password !== undefined) {
    print(
      `Password:  ${dashboard.password}  (of the user admin, made for this start; FLOE_DASHBOARD_PASSWORD sets your own)`,
    );
  }
  await untilTold(options.signal);
}

async function untilTold(signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return;
  const done = new AbortController();
  const until = { signal: done.signal };
  const told = [once(process, 'SIGTERM', until), once(process, 'SIGINT', until)];
  if (signal) told.push(once(signal, 'abort', until));
  await Promise.race(told);
  // The others were cancelled with it, and reject for that reason alone.
  done.abort();
  await Promise.allSettled(told);
}
