/**
 * A job as Bull Board shows it: JSON, but with units, times and masked secrets. What does not fit our schemas (a job of
 * another version, say) is not shown raw, since it may hold secrets in places that this version does not know.
 */
import { z } from 'zod';
import { displayName, JobData, type JobRecord, JobResult, Progress, type RunRecord } from '../jobs/index.ts';
import { formatCommand, formatDuration, formatProgress, formatSize, formatTime, percentOf } from './format.ts';
import { maskCommand, maskEnv } from './secrets.ts';

const UNREADABLE = { note: 'This version of Floe cannot read it.' };

const Named = z.object({ name: z.string(), data: z.unknown() });

/** Called with the whole BullMQ job. */
export function boardName(job: unknown): string {
  const named = Named.safeParse(job);
  if (!named.success) return '';
  const data = JobData.safeParse(named.data.data);
  return data.success ? displayName(data.data.spec) : named.data.name;
}

export function boardData(data: unknown): object {
  const parsed = JobData.safeParse(data);
  if (!parsed.success) return UNREADABLE;
  const { spec, input, submittedAt } = parsed.data;
  const { memoryBytes, ...resources } = spec.resources;
  return {
    submitted: formatTime(submittedAt),
    command: formatCommand(maskCommand(spec.command)),
    spec: {
      ...spec,
      command: maskCommand(spec.command),
      env: maskEnv(spec.env),
      resources: { ...resources, ...(memoryBytes === undefined ? {} : { memory: formatSize(memoryBytes) }) },
    },
    input: input && { key: input.key, size: formatSize(input.sizeBytes) },
  };
}

/** Bull Board draws a ring for the number in `progress` and shows the rest as text. */
export function boardProgress(progress: unknown): object | number {
  const parsed = Progress.safeParse(progress);
  if (!parsed.success) return typeof progress === 'number' ? progress : 0;
  return { progress: percentOf(parsed.data), now: formatProgress(parsed.data) };
}

export function boardReturnValue(value: unknown): object | null {
  if (value === null || value === undefined) return null;
  const parsed = JobResult.safeParse(value);
  if (!parsed.success) return UNREADABLE;
  const { outputs, logs, ...result } = parsed.data;
  const kept = (object: { key: string; sizeBytes: number }) => ({
    key: object.key,
    size: formatSize(object.sizeBytes),
  });
  return {
    ...result,
    outputs: outputs && { ...kept(outputs), files: outputs.files, unmatched: outputs.unmatched },
    logs: logs && { stdout: kept(logs.stdout), stderr: kept(logs.stderr) },
  };
}

/** `state` and `record` of every job; `runs` where they were read. */
export function boardRecord(record: JobRecord, runs: readonly RunRecord[]): object {
  const time = (at: number | null) => (at === null ? null : formatTime(at));
  return {
    state: record.state,
    record: {
      worker: record.worker,
      runs: record.epoch,
      ran: formatDuration(record.ranMs),
      lost: formatDuration(record.lostMs),
      crashes: record.crashes,
      failures: record.failures,
      checkpoint: record.checkpoint,
      checkpointTaken: time(record.checkpointAt),
      frozenSince: time(record.frozenSince),
      now: record.progress && formatProgress(record.progress),
    },
    ...(runs.length === 0 ? {} : { runs: runs.map(boardRun) }),
  };
}

function boardRun(run: RunRecord): object {
  return {
    run: run.epoch,
    worker: run.worker,
    began: formatTime(run.startedAt),
    ended: run.endedAt === null ? null : formatTime(run.endedAt),
    end: run.end,
    thawedFrom: run.thawedFrom,
    thawedIn: run.thawMs === null ? null : formatDuration(run.thawMs),
    checkpoints: run.checkpoints,
    stoodStill: formatDuration(run.frozenMs),
    sent: formatSize(run.bytesSent),
    lost: formatDuration(run.lostMs),
    passedOver: run.passedOver,
  };
}
