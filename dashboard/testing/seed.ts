/** Puts jobs, runs and workers in Redis the way that producers and workers do, through the contract alone. */
import type { Redis } from 'ioredis';
import {
  announceWorker,
  appendLog,
  createRecords,
  displayName,
  type JobData,
  type JobSpecInput,
  newJobId,
  OwnedRecord,
  openQueue,
  parseJobSpec,
  queueOptions,
  type RecordChange,
  type RunRecord,
  redisKeys,
  storeKeys,
  type WorkerDescription,
} from '../../jobs/index.ts';

/** Queues a job as a producer would; resolves to its id. */
export async function seedJob(redis: Redis, input: JobSpecInput, submittedAt = Date.now()): Promise<string> {
  const spec = parseJobSpec(input);
  const id = newJobId(spec.pool);
  await createRecords(redis, [{ id, name: displayName(spec) }]);
  await redis.hset(redisKeys.record(id), { submittedAt });
  const queue = openQueue(spec.pool, redis);
  const data: JobData = { spec, input: { key: storeKeys.input(id), sizeBytes: 9 }, submittedAt };
  await queue.add(displayName(spec), data, queueOptions(id, spec));
  await queue.close();
  return id;
}

/** One run as a worker would write it. */
export async function seedRun(
  redis: Redis,
  id: string,
  run: Partial<RunRecord> & Pick<RunRecord, 'epoch' | 'worker'>,
  change: RecordChange,
  event?: Record<string, unknown> & { type: string },
): Promise<void> {
  const [owned] = await OwnedRecord.claim(redis, id, run.epoch);
  const whole: RunRecord = {
    startedAt: Date.now(),
    endedAt: null,
    end: null,
    thawedFrom: null,
    passedOver: [],
    thawMs: null,
    logStart: { stdout: 0, stderr: 0 },
    checkpoints: 0,
    frozenMs: 0,
    bytesSent: 0,
    lostMs: 0,
    ...run,
  };
  await owned.write({ worker: run.worker, ...change }, { run: whole, ...(event ? { event } : {}) });
}

export async function seedLog(redis: Redis, id: string, epoch: number, text: string): Promise<void> {
  await appendLog(redis, id, epoch, { stream: 'stdout', offsetBytes: 0, bytes: Buffer.from(text) });
}

export async function seedWorker(redis: Redis, given: Partial<WorkerDescription> & { name: string }): Promise<void> {
  const now = Date.now();
  await announceWorker(redis, {
    host: 'ip-10-0-3-17',
    pid: 4242,
    pools: ['default'],
    slots: 4,
    jobs: [],
    state: 'ready',
    notice: null,
    runtime: 'process',
    criuVersion: '4.2.1',
    cpuFeatures: ['avx2'],
    startedAt: now - 3_700_000,
    heartbeatAt: now,
    ...given,
  });
}
