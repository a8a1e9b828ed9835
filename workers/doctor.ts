/** `floe doctor`: what a worker with this configuration would meet here, machine, store and Redis. */
import { hideCredentials } from '../base/redact.ts';
import { examineMachine, type Finding } from '../freezer/index.ts';
import { asRedisError, type Config, connectRedis, FloeError, inspectRedis } from '../jobs/index.ts';
import { openStore, probeStore, type Store, StoreError } from '../store/index.ts';
import { jobAccess } from './jobAccess.ts';

const RACING_WRITERS = 16;
/** Beyond these a user notices: BullMQ's scripts run for each job many times, and clocks tell when checkpoints were taken. */
const SLOW_REDIS_MS = 50;
const CLOCK_TOLERANCE_MS = 5000;
const OLDEST_REDIS = [6, 2] as const;

/** Never rejects: what cannot be reached is a finding. */
export async function examine(config: Config): Promise<readonly Finding[]> {
  const { stateDir: stateDirectory, toolbox: toolboxDirectory } = config;
  const machine = await examineMachine({
    names: config.worker.runtimes,
    ...{ stateDirectory, toolboxDirectory },
    access: jobAccess(config),
    imagesDirectory: config.worker.imagesDir ?? undefined,
    encryptionKeys: config.encryption.key,
  });
  return [...machine, ...(await examineStore(config.store)), ...(await examineRedis(config))];
}

async function examineStore(url: string): Promise<readonly Finding[]> {
  const part = 'store';
  const findings: Finding[] = [];
  try {
    await using store = await openStore(url);
    await store.check();
    findings.push({ part, check: 'store', status: 'ok', found: `${store.url} can be read and written`, remedy: null });
    findings.push(...(await race(store)));
  } catch (error) {
    const { message, remedy } = explain(error);
    findings.push({
      part,
      check: findings.length === 0 ? 'store' : 'conditional writes',
      status: 'fail',
      found: message,
      remedy,
    });
  }
  return findings;
}

async function race(store: Store): Promise<readonly Finding[]> {
  const { winners, clockAheadMs } = await probeStore(store, RACING_WRITERS);
  const ahead = `${(Math.abs(clockAheadMs) / 1000).toFixed(1)} s ${clockAheadMs < 0 ? 'behind' : 'ahead'}`;
  const isOnTime = Math.abs(clockAheadMs) <= CLOCK_TOLERANCE_MS;
  return [
    {
      part: 'store',
      check: 'conditional writes',
      status: winners === 1 ? 'ok' : 'fail',
      found: `of ${RACING_WRITERS} writers that raced for one key ${winners === 1 ? '1 won' : `${winners} believe they won`}`,
      remedy:
        winners === 1
          ? null
          : 'Use a store that keeps If-None-Match, as S3 does: without, two workers can own one job.',
    },
    {
      part: 'store',
      check: 'clock',
      status: isOnTime ? 'ok' : 'warn',
      found: isOnTime ? "agrees with the store's" : `the store's is ${ahead}`,
      remedy: isOnTime
        ? null
        : 'Synchronise the clocks (NTP): S3 refuses requests that are too far off, and histories are confused.',
    },
  ];
}

async function examineRedis(config: Config): Promise<readonly Finding[]> {
  const part = 'redis';
  try {
    const redis = await connectRedis(config, { whenLost: 'fail' });
    try {
      return judgeRedis(await inspectRedis(redis), config.redisUrl);
    } finally {
      redis.disconnect();
    }
  } catch (error) {
    const { message, remedy } = explain(asRedisError(error, config.redisUrl) ?? error);
    return [{ part, check: 'Redis', status: 'fail', found: message, remedy }];
  }
}

function judgeRedis(facts: Awaited<ReturnType<typeof inspectRedis>>, url: string | null): readonly Finding[] {
  const { server, version, redisVersion, maxmemoryPolicy, isAppendOnly, latencyMs } = facts;
  const [major, minor] = redisVersion;
  const judge = (check: string, found: string, otherwise: false | Pick<Finding, 'status' | 'remedy'>): Finding => ({
    part: 'redis',
    check,
    found,
    ...(otherwise || { status: 'ok', remedy: null }),
  });
  const isOld = major < OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor < OLDEST_REDIS[1]);
  const where = url === null ? "Floe's own" : `at ${hideCredentials(url)}`;
  return [
    judge(
      'Redis',
      `${server} ${version}, ${where}`,
      isOld && {
        status: 'fail',
        remedy: `Use Redis ${OLDEST_REDIS.join('.')} or newer, or Valkey.`,
      },
    ),
    judge(
      'Redis eviction',
      `maxmemory-policy is ${maxmemoryPolicy}`,
      maxmemoryPolicy !== 'noeviction' && {
        status: 'fail',
        remedy: 'Set maxmemory-policy to noeviction: jobs would be dropped when its memory is full.',
      },
    ),
    judge(
      'Redis durability',
      isAppendOnly ? 'append-only file' : 'no append-only file',
      !isAppendOnly && {
        status: 'warn',
        remedy:
          'Set appendonly to yes: jobs are forgotten when it restarts. Managed servers may keep them by a replica.',
      },
    ),
    judge(
      'Redis latency',
      `${latencyMs.toFixed(1)} ms`,
      latencyMs > SLOW_REDIS_MS && {
        status: 'warn',
        remedy: 'Put it nearer to the workers: each step of a job waits for it several times.',
      },
    ),
  ];
}

function explain(error: unknown): { message: string; remedy: string } {
  if (error instanceof FloeError || error instanceof StoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return { message, remedy: 'This is a defect; FLOE_LOG_LEVEL=debug shows where.' };
}
