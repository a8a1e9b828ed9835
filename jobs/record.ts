/**
 * What is known of a job beside BullMQ's own bookkeeping: its state, who runs it, and the history of its runs.
 *
 * Every write of a run goes through one script that compares the run's epoch with the newest that claimed the job, so a
 * worker that lost its job can no longer say anything about it. The same script announces the change as an event: the
 * two cannot differ.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { FloeError } from './errors.ts';
import { EVENTS_KEPT } from './events.ts';
import { LOG_ACCOUNTS } from './logAccounts.ts';
import { poolOfJobId, redisKeys } from './names.ts';
import { JobResult } from './result.ts';
import { JobState } from './state.ts';

const count = z.coerce.number().int().min(0).default(0);
const timestamp = z.coerce.number().int().positive().nullable().default(null);
const json = <T extends z.ZodType>(schema: T) =>
  z
    .string()
    .transform((text, context) => {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        context.issues.push({ code: 'custom', message: 'is not JSON', input: text });
        return z.NEVER;
      }
    })
    .pipe(schema);

/** A long step under way: `step` is `uploading input`, `freezing`, `sending`, `fetching`, `thawing`, `keeping outputs`… */
export const Progress = z.strictObject({
  step: z.string(),
  doneBytes: z.int().min(0),
  totalBytes: z.int().min(0).nullable(),
  bytesPerSecond: z.number().min(0).nullable(),
  etaMs: z.number().min(0).nullable(),
});
export type Progress = z.output<typeof Progress>;

/** All times are milliseconds since the epoch (1970). */
export const JobRecord = z.object({
  state: JobState,
  /** For people: the spec's name, or the program's. */
  name: z.string().default(''),
  /** The epoch of the newest run; 0 before the first. */
  epoch: count,
  worker: z.string().nullable().default(null),
  submittedAt: timestamp,
  finishedAt: timestamp,
  /** When the owning run last renewed its lock. */
  aliveAt: timestamp,
  /** The newest committed checkpoint. */
  checkpoint: z.string().nullable().default(null),
  checkpointAt: timestamp,
  /** It was encrypted when it was taken: one that is not is another. */
  checkpointIsEncrypted: z.literal('1').nullable().default(null).transform(Boolean),
  /** The first run whose worker signs what it writes to the store; null where none does. What later runs wrote is signed, too. */
  signedFrom: z.coerce.number().int().positive().nullable().default(null),
  /** CPU features that the checkpoint needs, for workers that consider thawing it. */
  cpuFeatures: json(z.array(z.string())).nullable().default(null),
  /** Digest of its image, as its first run found it: later runs have the same. */
  image: z.string().nullable().default(null),
  frozenSince: timestamp,
  crashes: count,
  /** Own failures of the program so far. */
  failures: count,
  /** The job must start from the beginning: its last attempt failed by itself. */
  afresh: z.literal('1').nullable().default(null).transform(Boolean),
  /** Its checkpoints stay when it has ended: its spec's `checkpoint.keepAtEnd`, for when the queue has dropped the spec. */
  keepsCheckpoints: z.literal('1').nullable().default(null).transform(Boolean),
  /** How long its program ran, frozen time excluded. */
  ranMs: count,
  lostMs: count,
  progress: json(Progress).nullable().default(null),
  /**
   * Why the worker that had it last could not begin it, or why its program cannot be frozen, and what to do; null once it has begun, and
   * once a checkpoint has been committed.
   */
  problem: z.string().nullable().default(null),
  cancelRequestedAt: timestamp,
  checkpointRequestedAt: timestamp,
  result: json(JobResult).nullable().default(null),
});
export type JobRecord = z.output<typeof JobRecord>;

/** One stint of a job on one worker. */
export const RunRecord = z.strictObject({
  epoch: z.int(),
  worker: z.string(),
  startedAt: z.int(),
  endedAt: z.int().nullable(),
  /** How it ended: `frozen` for a move, `crashed` when the worker vanished, `stopped` when it was killed without a checkpoint. */
  end: z.enum(['frozen', 'finished', 'failed', 'crashed', 'stopped', 'cancelled']).nullable(),
  /** The checkpoint it began with; null for a start from the beginning. */
  thawedFrom: z.string().nullable(),
  /** Why earlier checkpoints were passed over, one sentence each. */
  passedOver: z.array(z.string()),
  thawMs: z.int().nullable(),
  /** Size of each log when the run began: what earlier runs wrote beyond it was undone. */
  logStart: z.strictObject({ stdout: z.int(), stderr: z.int() }),
  checkpoints: z.int(),
  /** Time that the program stood still for checkpoints. */
  frozenMs: z.number(),
  bytesSent: z.int(),
  /** Work undone because the run ended without a checkpoint. */
  lostMs: z.int(),
});
export type RunRecord = z.output<typeof RunRecord>;

/** Fields that a run may change; null removes one. */
export type RecordChange = Partial<Record<Exclude<keyof z.input<typeof JobRecord>, 'epoch'>, string | number | null>>;

/** How long record and runs of a finished job are kept. */
export const FINISHED_KEPT_MS = 7 * 24 * 3_600_000;
/** How long Redis keeps the log of a finished job that the store has, for those who still read it in Redis. */
export const FINISHED_LOG_KEPT_MS = 5 * 60_000;
/** How many runs of a job are told of, the newest. */
export const RUNS_KEPT = 1000;
/** Of any text in a record, a run or an event that is told to people, in characters: programs and stores may say a lot. */
const LONGEST_TEXT = 4000;

/**
 * Lua: lets what Redis holds of a job expire; for scripts whose KEYS are the record, the runs, the events, and whose first argument is the
 * job's id. A log that its
 * result does not name is nowhere else, and stays as long as the record.
 */
const EXPIRE = `${LOG_ACCOUNTS}
local function expire()
  local result = redis.call('HGET', KEYS[1], 'result')
  local stored = result and cjson.decode(result).logs ~= cjson.null
  expireLog(ARGV[1], stored and ${FINISHED_LOG_KEPT_MS} or ${FINISHED_KEPT_MS})
  redis.call('PEXPIRE', KEYS[1], ${FINISHED_KEPT_MS})
  redis.call('PEXPIRE', KEYS[2], ${FINISHED_KEPT_MS})
end
local function isFinal(state) return state == 'succeeded' or state == 'failed' or state == 'cancelled' end`;

const CLAIM = `
if redis.call('HEXISTS', KEYS[1], 'state') == 0 then return false end
local owner = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
if tonumber(ARGV[1]) <= owner then return false end
local before = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
return before`;

/** An end is for good. The run that wrote it may write it again, for it may not have got the answer. */
const WRITE = `${EXPIRE}
local owner = redis.call('HGET', KEYS[1], 'epoch') or '0'
if ARGV[2] ~= owner then return 0 end
local at = 6
local state = redis.call('HGET', KEYS[1], 'state')
if isFinal(state) then
  for i = at, #ARGV, 2 do
    if ARGV[i] == 'state' and ARGV[i + 1] == state then return 1 end
  end
  return 0
end
for i = 1, tonumber(ARGV[5]) do
  if ARGV[at + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[at]) else redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
  at = at + 2
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], cjson.decode(ARGV[3]).epoch, ARGV[3])
  if redis.call('HLEN', KEYS[2]) > ${RUNS_KEPT} then
    local epochs = epochsOf(ARGV[1])
    for i = 1, #epochs - ${RUNS_KEPT} do
      dropRunLog(ARGV[1], epochs[i])
      redis.call('HDEL', KEYS[2], epochs[i])
    end
  end
end
if ARGV[4] ~= '' then redis.call('XADD', KEYS[3], 'MAXLEN', '~', '${EVENTS_KEPT}', '*', 'event', ARGV[4]) end
if isFinal(redis.call('HGET', KEYS[1], 'state')) then expire() end
return 1`;

const END = `${EXPIRE}
local state = redis.call('HGET', KEYS[1], 'state')
if not state or isFinal(state) then return state end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'finishedAt', ARGV[3], 'result', ARGV[4])
redis.call('HDEL', KEYS[1], 'worker', 'progress', 'frozenSince')
redis.call('XADD', KEYS[3], 'MAXLEN', '~', '${EVENTS_KEPT}', '*', 'event', ARGV[5])
expire()
return ARGV[2]`;

/** The record of a job, or null when there is no such job. */
export async function readRecord(redis: Redis, id: string): Promise<JobRecord | null> {
  const fields = await redis.hgetall(redisKeys.record(id));
  return Object.keys(fields).length === 0 ? null : JobRecord.parse(fields);
}

/** The runs of a job, oldest first. */
export async function readRuns(redis: Redis, id: string): Promise<RunRecord[]> {
  const runs = await redis.hvals(redisKeys.runs(id));
  return runs.map((text) => RunRecord.parse(JSON.parse(text))).sort((a, b) => a.epoch - b.epoch);
}

/** Writes the records of jobs that are about to be queued, and announces them. */
export async function createRecords(
  redis: Redis,
  jobs: readonly { id: string; name: string; keepsCheckpoints?: boolean }[],
): Promise<void> {
  const now = Date.now();
  const steps = redis.multi();
  for (const { id, name, keepsCheckpoints = false } of jobs) {
    const event = { jobId: id, epoch: 0, at: now, type: 'submitted' };
    steps
      .hset(redisKeys.record(id), {
        state: 'queued',
        name,
        submittedAt: now,
        ...(keepsCheckpoints && { keepsCheckpoints: '1' }),
      })
      .zadd(redisKeys.jobs, now, id)
      .sadd(redisKeys.pools, poolOfJobId(id))
      .xadd(redisKeys.events, 'MAXLEN', '~', EVENTS_KEPT, '*', 'event', JSON.stringify(event));
  }
  await steps.exec();
}

/** Forgets jobs that could not be queued. */
export async function removeRecords(redis: Redis, ids: readonly string[]): Promise<void> {
  await redis
    .multi()
    .del(...ids.map(redisKeys.record))
    .zrem(redisKeys.jobs, ...ids)
    .exec();
}

/** Forgets a job that has ended: its record, its runs and what Redis still holds of its log. */
export async function forgetJob(redis: Redis, id: string): Promise<void> {
  const epochs = await redis.hkeys(redisKeys.runs(id));
  const logs = epochs.map((epoch) => redisKeys.log(id, Number(epoch)));
  await redis
    .multi()
    .del(redisKeys.record(id), redisKeys.runs(id), ...logs)
    .zrem(redisKeys.jobs, id)
    // Whoever writes a log next counts it no more.
    .zadd(redisKeys.logEnded, 0, id)
    .exec();
}

/**
 * Ends a job that is in no queue any more and so can have no further run. The epoch rises, which shuts out a
 * run that does not know yet that it lost the job. Resolves to the job's state: the result's outcome, or the end that the job had already.
 */
export async function endWithoutRun(redis: Redis, result: JobResult): Promise<JobState> {
  const id = result.jobId;
  const now = Date.now();
  const message = result.reason?.message ?? '';
  const event = { jobId: id, epoch: result.epoch, at: now, type: result.outcome, message };
  const state = await redis.eval(
    END,
    3,
    redisKeys.record(id),
    redisKeys.runs(id),
    redisKeys.events,
    id,
    result.outcome,
    now,
    JSON.stringify(result),
    JSON.stringify(event),
  );
  return JobState.parse(state);
}

/** The record as one run sees it: every write carries the run's epoch. */
export class OwnedRecord {
  readonly id: string;
  readonly epoch: number;
  readonly #redis: Redis;

  private constructor(redis: Redis, id: string, epoch: number) {
    this.#redis = redis;
    this.id = id;
    this.epoch = epoch;
  }

  /**
   * Makes `epoch` the owner and returns the record as the run before left it; all else in it stays, so that whoever claims
   * next still finds how that run ended. Throws `FloeError` `lost` when this or a newer epoch has claimed the job
   * already, and when there is no such job.
   */
  static async claim(redis: Redis, id: string, epoch: number): Promise<[OwnedRecord, JobRecord]> {
    const before = await redis.eval(CLAIM, 1, redisKeys.record(id), epoch);
    if (!Array.isArray(before)) throw lost(id, epoch);
    return [new OwnedRecord(redis, id, epoch), JobRecord.parse(pairs(before))];
  }

  /**
   * Changes fields, an entry of the history (this run's, or that of the run before, which vanished) and the event
   * stream, in one step. Throws `lost` after a newer claim, and after the job's end.
   */
  async write(
    change: RecordChange,
    also: { run?: RunRecord; event?: Record<string, unknown> & { type: string } } = {},
  ): Promise<void> {
    const { id, epoch } = this;
    const fields = Object.entries(change).flatMap(([field, value]) => [field, value === null ? '' : cut(field, value)]);
    const event = also.event ? toJson({ jobId: id, epoch, at: Date.now(), ...also.event }) : '';
    const written = await this.#redis.eval(
      WRITE,
      3,
      redisKeys.record(id),
      redisKeys.runs(id),
      redisKeys.events,
      id,
      epoch,
      also.run ? toJson(also.run) : '',
      event,
      fields.length / 2,
      ...fields,
    );
    if (written !== 1) throw lost(id, epoch);
  }
}

/** `problem` is the one field with words that others chose; the rest is Floe's own, or JSON. */
function cut(field: string, value: string | number): string {
  return field === 'problem' ? String(value).slice(0, LONGEST_TEXT) : String(value);
}

/** Lists hold a word for each checkpoint at most. */
function toJson(value: object): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'string' ? each.slice(0, LONGEST_TEXT) : each));
}

function lost(id: string, epoch: number): FloeError {
  return new FloeError('lost', `Run ${epoch} of ${id} no longer owns the job.`, 'Nothing to do: a newer run has it.');
}

function pairs(flat: unknown[]): Record<string, unknown> {
  return Object.fromEntries(flat.flatMap((key, at) => (at % 2 === 0 ? [[String(key), flat[at + 1]]] : [])));
}
