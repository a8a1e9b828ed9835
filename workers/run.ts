/** `floe worker`: the worker that a configuration describes, until it is told to go. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { createLogger } from '../base/log.ts';
import {
  chooseImagesDirectory,
  FreezerError,
  holdStateFolder,
  openRuntimes,
  type Runtime,
  sweepStateFolders,
} from '../freezer/index.ts';
import { type Config, connectRedis, FloeError } from '../jobs/index.ts';
import { openStore } from '../store/index.ts';
import { type Store, StoreError } from '../store/store.ts';
import { jobAccess } from './jobAccess.ts';
import { passOverUncaught } from './lastLine.ts';
import { ec2Notices } from './notices/ec2.ts';
import { signalNotices } from './notices/signals.ts';
import type { NoticeSource } from './notices/source.ts';
import { type RunningWorker, startWorker } from './worker.ts';

/**
 * Resolves when it has drained after a notice, SIGTERM or SIGINT; a second SIGINT ends it at once. Logs JSON lines to stdout.
 * Throws `FloeError`: `redisUnreachable`, `redisRefused`, `storeFailed`, `cannotRun`.
 */
export async function runWorker(config: Config): Promise<void> {
  const logger = createLogger({ level: config.logLevel, base: { worker: config.worker.name } });
  const redis = await connectRedis(config, { whenLost: 'wait' });
  try {
    await using store = await openCheckedStore(config.store);
    const worker = await start(config, { redis, store, logger });
    using _ = passOverUncaught(logger);
    await worker.ended;
  } finally {
    redis.disconnect();
  }
}

async function start(
  config: Config,
  parts: { redis: Awaited<ReturnType<typeof connectRedis>>; store: Store; logger: Logger },
): Promise<RunningWorker> {
  const { name, pools, slots, lockDurationMs, stopMarginMs } = config.worker;
  // Of its own for every worker: a runtime removes what it finds left in there.
  const stateDirectory = join(config.stateDir, 'workers', name);
  await holdStateFolder(stateDirectory);
  const started = Promise.withResolvers<RunningWorker>();
  const noticeSources = sourcesOf(config, parts.logger, () => void started.promise.then((worker) => worker.kill()));
  try {
    const runtime = await openOwnRuntimes(config, stateDirectory, parts.logger);
    const worker = await startWorker({
      ...parts,
      storeUrl: config.store,
      encryptionKeys: config.encryption.key,
      bufferBytes: config.worker.bufferBytes,
      logBytesInRedis: config.worker.logBytesInRedis,
      secretsDirectory: config.worker.secretsDir,
      toolboxDirectory: config.toolbox,
      disk: {
        directory: stateDirectory,
        defaultBytes: config.worker.defaultDiskBytes ?? undefined,
        mostBytes: config.worker.maxDiskBytes ?? undefined,
        mostFiles: config.worker.maxFiles ?? undefined,
      },
      ...{ name, runtime, pools, slots, lockDurationMs, stopMarginMs, noticeSources },
    });
    started.resolve(worker);
    // Names may be of the day, a container's id say: who had one before does not come back for its folder.
    await sweepStateFolders(stateDirectory);
    return worker;
  } catch (error) {
    if (!(error instanceof FreezerError)) throw error;
    throw new FloeError('cannotRun', error.message, error.remedy, { cause: error });
  }
}

async function openOwnRuntimes(config: Config, stateDirectory: string, logger: Logger): Promise<Runtime> {
  return openRuntimes({
    names: config.worker.runtimes,
    stateDirectory,
    toolboxDirectory: config.toolbox,
    imagesDirectory: await chooseImagesDirectory(config.worker.imagesDir ?? undefined, config.encryption.key),
    access: jobAccess(config),
    onLateEngine: (name) =>
      logger.warn(
        `${name} has come up, and jobs without an image still run as processes: \`auto\` decided that when this worker started. Name the runtimes in \`worker.runtimes\`.`,
      ),
    onAbsent: (name, why) => logger.info({ why: why.message }, `this worker has no ${name} runtime`),
  });
}

function sourcesOf(config: Config, logger: Logger, onInsist: () => void): NoticeSource[] {
  const { noticeSource, noticePollMs, graceMs } = config.worker;
  const signals = signalNotices({ graceMs, onInsist });
  if (noticeSource === 'none') return [signals];
  const mode = noticeSource === 'ec2' ? 'on' : 'auto';
  return [signals, ec2Notices({ mode, pollMs: noticePollMs, logger })];
}

async function openCheckedStore(url: string): Promise<Store> {
  try {
    const store = await openStore(url);
    await store.check();
    return store;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw new FloeError('storeFailed', error.message, error.remedy, { cause: error });
  }
}
