/**
 * The log of a job that still runs: one capped Redis stream per run, bytes with their offsets. A finished job's complete
 * log is in the store.
 *
 * A run that thaws begins at the log offsets of its checkpoint (`RunRecord.logStart`); what an earlier run wrote beyond
 * them was undone with the rest of its work. Reading the runs in order and cutting each at the earliest start of all later
 * ones gives every line once.
 *
 * Redis keeps the last `LOG_BYTES_KEPT` of a job, in all of its runs together, and less where the logs of all jobs would take more than
 * the fleet's bound (logAccounts.ts). What has gone is told as `skipped`.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { LOG_ACCOUNTS, LOG_ENTRY_COST_BYTES, TRIMMED_AT_ONCE_BYTES } from './logAccounts.ts';
import { redisKeys } from './names.ts';
import { type RunRecord, readRecord, readRuns } from './record.ts';
import { isFinal } from './state.ts';

/** About how much of one job's log Redis keeps. The store has all of it at the end. */
export const LOG_BYTES_KEPT = 4 * 2 ** 20;
export const LOG_ENTRY_BYTES = 16 * 1024;
/** What the logs of all jobs may have in Redis where nobody says otherwise. */
export const DEFAULT_LOG_BYTES_IN_REDIS = 256 * 2 ** 20;

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

/**
 * KEYS: the record, the run's log. ARGV: epoch, id, what the job's log may have, what all may, stream, offset, bytes. A log that nobody
 * counted is of an earlier version of Floe.
 */
const APPEND = `${LOG_ACCOUNTS}
local owner = redis.call('HGET', KEYS[1], 'epoch') or '0'
if ARGV[1] ~= owner then return 0 end
local id = ARGV[2]
if not redis.call('ZSCORE', ACCOUNTS, id) then dropLog(id) end
redis.call('XADD', KEYS[2], '*', 'stream', ARGV[5], 'offset', ARGV[6], 'bytes', ARGV[7])
charge(id, #ARGV[7] + ${LOG_ENTRY_COST_BYTES})
local excess = tonumber(redis.call('ZSCORE', ACCOUNTS, id)) - tonumber(ARGV[3])
if excess > 0 then trimLog(id, excess + ${TRIMMED_AT_ONCE_BYTES}) end
makeRoom(tonumber(ARGV[4]))
return 1`;

/**
 * Appends what a run wrote; at most `LOG_ENTRY_BYTES` a call. False when the run no longer owns the job. `fleetBytes`: what the logs of all
 * jobs together may have.
 */
export async function appendLog(
  redis: Redis,
  id: string,
  epoch: number,
  entry: { stream: LogStream; offsetBytes: number; bytes: Buffer },
  fleetBytes: number = DEFAULT_LOG_BYTES_IN_REDIS,
): Promise<boolean> {
  const { stream, offsetBytes, bytes } = entry;
  const keys = [redisKeys.record(id), redisKeys.log(id, epoch)];
  const limits = [LOG_BYTES_KEPT, fleetBytes];
  const written = await redis.eval(APPEND, keys.length, ...keys, epoch, id, ...limits, stream, offsetBytes, bytes);
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
      const part = partOf(run, runs.slice(at + 1));
      yield* beginPart(part, end);
      yield* readPart(redis, id, part, end, options);
      after = run.epoch;
      continue;
    }
    if (!options.follow || (await hasEnded(redis, id))) return;
    // Between two runs there is nothing to block on but the job's own log, which the next run has yet to create.
    await redis.xread('BLOCK', 500, 'STREAMS', redisKeys.events, '$');
  }
}

/** Of what a run wrote, all that no later one has undone: from `start` on, below `cut`. */
interface Part {
  readonly epoch: number;
  readonly start: Record<LogStream, number>;
  readonly cut: Record<LogStream, number>;
  readonly isNewest: boolean;
}

function partOf({ epoch, logStart }: RunRecord, later: readonly RunRecord[]): Part {
  const cutOf = (stream: LogStream) => Math.min(...later.map((run) => run.logStart[stream])); // of none: infinite
  const cut = { stdout: cutOf('stdout'), stderr: cutOf('stderr') };
  const start = { stdout: Math.min(logStart.stdout, cut.stdout), stderr: Math.min(logStart.stderr, cut.stderr) };
  return { epoch, start, cut, isNewest: later.length === 0 };
}

function* beginPart({ epoch, start }: Part, end: Record<LogStream, number>): Generator<LogEntry> {
  for (const stream of ['stdout', 'stderr'] as const) {
    const offsetBytes = start[stream];
    if (offsetBytes < end[stream]) yield { kind: 'rewound', stream, epoch, offsetBytes };
    if (offsetBytes > end[stream]) yield { kind: 'skipped', stream, epoch, sizeBytes: offsetBytes - end[stream] };
    end[stream] = offsetBytes;
  }
}

async function* readPart(
  redis: Redis,
  id: string,
  part: Part,
  end: Record<LogStream, number>,
  options: { follow: boolean; signal: AbortSignal },
): AsyncGenerator<LogEntry> {
  const key = redisKeys.log(id, part.epoch);
  let position = '0-0';
  while (!options.signal.aborted) {
    const over = !part.isNewest || !options.follow || !(await isCurrent(redis, id, part.epoch));
    const entries = over
      ? RawEntries.parse(await redis.xrangeBuffer(key, `(${position}`, '+', 'COUNT', 64))
      : (RawAnswer.parse(await redis.xreadBuffer('COUNT', 64, 'BLOCK', 500, 'STREAMS', key, position))?.[0]?.[1] ?? []);
    if (over && entries.length === 0) return;
    for (const [entryId, fields] of entries) {
      position = entryId.toString();
      yield* emit(part, end, fields);
    }
  }
}

function* emit({ epoch, cut }: Part, end: Record<LogStream, number>, fields: Buffer[]): Generator<LogEntry> {
  const stream: LogStream = String(fields[1]) === 'stderr' ? 'stderr' : 'stdout';
  const offsetBytes = Number(fields[3]);
  const bytes = (fields[5] ?? Buffer.alloc(0)).subarray(0, Math.max(0, cut[stream] - offsetBytes));
  if (bytes.length === 0) return;
  if (offsetBytes > end[stream]) yield { kind: 'skipped', stream, epoch, sizeBytes: offsetBytes - end[stream] };
  end[stream] = offsetBytes + bytes.length;
  yield { kind: 'text', stream, epoch, offsetBytes, bytes };
}

async function isCurrent(redis: Redis, id: string, epoch: number): Promise<boolean> {
  const record = await readRecord(redis, id);
  return record !== null && record.epoch === epoch && !isFinal(record.state) && record.state !== 'frozen';
}

async function hasEnded(redis: Redis, id: string): Promise<boolean> {
  const record = await readRecord(redis, id);
  return record === null || isFinal(record.state);
}
