/**
 * A worker without a freezer, for tests of what producers see: it takes real jobs from a real queue, keeps the
 * contract of `jobs/` towards Redis and the store, and "runs" a job by a function of the test's.
 */
import { type Job, Worker } from 'bullmq';
import {
  appendLog,
  connectTo,
  type JobData,
  type JobRecord,
  type JobResult,
  type LogStream,
  OwnedRecord,
  QUEUE_PREFIX,
  type RunRecord,
  readRecord,
  storeKeys,
} from '../../jobs/index.ts';
import { putFolder } from '../../store/folder.ts';
import { openStore } from '../../store/index.ts';

export interface StandInRun {
  readonly id: string;
  readonly data: JobData;
  readonly record: OwnedRecord;
  print(stream: LogStream, text: string): Promise<void>;
  /** The record as it is now. */
  read(): Promise<JobRecord | null>;
  /** Ends the job as a worker does; `outputs`: a folder to keep. */
  end(how: Pick<JobResult, 'outcome' | 'end'> & { outputs?: string }): Promise<void>;
}

/** The end of a job that went well, for `StandInRun.end`. */
export const SUCCEEDED = { outcome: 'succeeded', end: { exitCode: 0, signal: null } } as const;

export interface StandInOptions {
  readonly redisUrl: string;
  readonly store: string;
  readonly pool?: string;
  readonly name?: string;
  readonly run: (run: StandInRun) => Promise<void>;
}

export async function startStandInWorker(options: StandInOptions): Promise<AsyncDisposable> {
  const redis = await connectTo(options.redisUrl, { whenLost: 'wait' });
  const name = options.name ?? 'stand-in';
  const process = (job: Job<JobData>) => runJob(job, name, options, redis);
  const worker = new Worker<JobData>(options.pool ?? 'default', process, { connection: redis, prefix: QUEUE_PREFIX });
  worker.on('error', () => undefined); // Redis goes away in some tests
  return {
    async [Symbol.asyncDispose]() {
      await worker.close(true);
      redis.disconnect();
    },
  };
}

async function runJob(
  job: Job<JobData>,
  worker: string,
  options: StandInOptions,
  redis: Awaited<ReturnType<typeof connectTo>>,
): Promise<void> {
  const id = job.id ?? '';
  const epoch = job.attemptsStarted;
  const [record] = await OwnedRecord.claim(redis, id, epoch);
  const run = newRun(epoch, worker);
  await record.write({ state: 'running', worker }, { run, event: { type: 'started', worker } });
  const logs: Record<LogStream, string> = { stdout: '', stderr: '' };
  await using store = await openStore(options.store);
  await options.run({
    id,
    data: job.data,
    record,
    read: () => readRecord(redis, id),
    async print(stream, text) {
      await appendLog(redis, id, epoch, { stream, offsetBytes: logs[stream].length, bytes: Buffer.from(text) });
      logs[stream] += text;
    },
    async end({ outcome, end, outputs }) {
      const kept = async (stream: LogStream) => {
        const key = storeKeys.log(id, epoch, stream);
        await store.create(key, Buffer.from(logs[stream]));
        return { key, sizeBytes: logs[stream].length };
      };
      const keep = async (folder: string) => {
        const key = storeKeys.outputs(id, epoch);
        return { key, sizeBytes: (await putFolder(store, key, folder)).sizeBytes };
      };
      const result: JobResult = {
        version: 1,
        jobId: id,
        outcome,
        end,
        reason: null,
        epoch,
        worker,
        finishedAt: new Date().toISOString(),
        outputs: outputs ? { ...(await keep(outputs)), files: 1, unmatched: [] } : null,
        logs: { stdout: await kept('stdout'), stderr: await kept('stderr') },
      };
      await store.create(storeKeys.result(id), Buffer.from(JSON.stringify(result)));
      await record.write(
        { state: outcome, result: JSON.stringify(result), finishedAt: Date.now() },
        { run: { ...run, endedAt: Date.now(), end: 'finished' }, event: { type: outcome, message: '' } },
      );
    },
  });
}

function newRun(epoch: number, worker: string): RunRecord {
  return {
    epoch,
    worker,
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
  };
}
