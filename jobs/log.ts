/**
 * The log of a job that still runs: one capped Redis stream per run, bytes with their offsets. A finished job's complete
 * log is in the store.
 *
 * A run that thaws begins at the log offsets of its checkpoint (`RunRecord.logStart`); what an earlier run wrote beyond
 * them was undone with the rest of its work. Reading the runs in order and cutting each at the next one's
 * start gives every line once.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { redisKeys } from './names.ts';
import { type RunRecord, readRecord, readRuns } from './record.ts';
import { isFinal } from './state.ts';

/** About how much of one run's log Redis keeps: 4096 entries of at most 16 KiB. The store has all of it at the end. */
export const LOG_ENTRIES_KEPT = 4096;
export const LOG_ENTRY_BYTES = 16 * 1024;

export type LogStream = 'stdout' | 'stderr';

/**
 * - `text`: bytes of one stream, at `offsetBytes` of that stream's whole log.
 * - `rewound`: a run began at an earlier point than had been read: what came after `offsetBytes` was undone.
 * - `skipped`: Redis has dropped this much; the complete log is in the store when the job has ended.
 */
export type LogEntry =
  | { kind: 'text'; stream: LogStream; epoch: number; offsetBytes: number; bytes: Buffer }
  | { kind: 'rewound'; stream: LogStream; epoch: number; offsetBytes: number }
  | { kind: 'skipped'; stream: LogStream; epoch: number; sizeBytes: number };

const APPEND = `
local owner = redis.call('HGET', KEYS[1], 'epoch') or '0'
if ARGV[1] ~= owner then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'stream', ARGV[3], 'offset', ARGV[4], 'bytes', ARGV[5])
return 1`;

/** Appends what a run wrote; at most `LOG_ENTRY_BYTES` a call. False when the run no longer owns the job. */
export async function appendLog(
  redis: Redis,
  id: string,
  epoch: number,
  entry: { stream: LogStream; offsetBytes: number; bytes: Buffer },
): Promise<boolean> {
  const keys = [redisKeys.record(id), redisKeys.log(id, epoch)];
  const written = await redis.eval(
    APPEND,
    2,
    ...keys,
    epoch,
    LOG_ENTRIES_KEPT,
    entry.stream,
    entry.offsetBytes,
    entry.bytes,
  );
  return written === 1;
}

const RawEntries = z.array(z.tuple([z.instanceof(Buffer), z.array(z.instanceof(Buffer)).length(6)]));
const RawAnswer = z.array(z.tuple([z.instanceof(Buffer), RawEntries])).nullable();

/**
 * Reads a job's log from its first run on; with `follow`, until the job has ended. `redis` must be a connection of its
 * own when following, because reads block.
 */
export async function* readLog(
  redis: Redis,
  id: string,
  options: { follow: boolean; signal: AbortSignal },
): AsyncGenerator<LogEntry> {
  const end = { stdout: 0, stderr: 0 };
  let after = 0;
  while (!options.signal.aborted) {
    const runs = await readRuns(redis, id);
    const at = runs.findIndex((run) => run.epoch > after);
    const run = runs[at];
    if (run) {
      yield* beginRun(run, end);
      yield* readRun(redis, id, run, runs[at + 1], end, options);
      after = run.epoch;
      continue;
    }
    if (!options.follow || (await hasEnded(redis, id))) return;
    // Between two runs there is nothing to block on but the job's own log, which the next run has yet to create.
    await redis.xread('BLOCK', 500, 'STREAMS', redisKeys.events, '$');
  }
}

function* beginRun(run: RunRecord, end: Record<LogStream, number>): Generator<LogEntry> {
  for (const stream of ['stdout', 'stderr'] as const) {
    const start = run.logStart[stream];
    if (start < end[stream]) yield { kind: 'rewound', stream, epoch: run.epoch, offsetBytes: start };
    end[stream] = start;
  }
}

async function* readRun(
  redis: Redis,
  id: string,
  run: RunRecord,
  next: RunRecord | undefined,
  end: Record<LogStream, number>,
  options: { follow: boolean; signal: AbortSignal },
): AsyncGenerator<LogEntry> {
  const key = redisKeys.log(id, run.epoch);
  let position = '0-0';
  while (!options.signal.aborted) {
    const over = next !== undefined || !options.follow || !(await isCurrent(redis, id, run.epoch));
    const entries = over
      ? RawEntries.parse(await redis.xrangeBuffer(key, `(${position}`, '+', 'COUNT', 64))
      : (RawAnswer.parse(await redis.xreadBuffer('COUNT', 64, 'BLOCK', 500, 'STREAMS', key, position))?.[0]?.[1] ?? []);
    if (over && entries.length === 0) return;
    for (const [entryId, fields] of entries) {
      position = entryId.toString();
      yield* emit(run, next, end, fields);
    }
  }
}

function* emit(
  run: RunRecord,
  next: RunRecord | undefined,
  end: Record<LogStream, number>,
  fields: Buffer[],
): Generator<LogEntry> {
  const stream: LogStream = String(fields[1]) === 'stderr' ? 'stderr' : 'stdout';
  const offsetBytes = Number(fields[3]);
  const limit = next ? next.logStart[stream] - offsetBytes : Number.POSITIVE_INFINITY;
  const bytes = (fields[5] ?? Buffer.alloc(0)).subarray(0, Math.max(0, limit));
  if (bytes.length === 0) return;
  if (offsetBytes > end[stream])
    yield { kind: 'skipped', stream, epoch: run.epoch, sizeBytes: offsetBytes - end[stream] };
  end[stream] = offsetBytes + bytes.length;
  yield { kind: 'text', stream, epoch: run.epoch, offsetBytes, bytes };
}

async function isCurrent(redis: Redis, id: string, epoch: number): Promise<boolean> {
  const record = await readRecord(redis, id);
  return record !== null && record.epoch === epoch && !isFinal(record.state) && record.state !== 'frozen';
}

async function hasEnded(redis: Redis, id: string): Promise<boolean> {
  const record = await readRecord(redis, id);
  return record === null || isFinal(record.state);
}
