/** What happens to jobs, as a capped Redis stream that every producer and dashboard can follow. */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { redisKeys } from './names.ts';

/** How many events the stream keeps, about; older ones are in the jobs' own histories. */
export const EVENTS_KEPT = 10_000;

const common = { jobId: z.string(), epoch: z.int(), at: z.int() };

/**
 * - `submitted`; `started` (from the beginning) or `thawed` (with what it took) by a worker.
 * - `checkpointed`: a checkpoint was committed and the program runs on. `frozen`: it was committed for a move.
 * - `freezeFailed`: no checkpoint was committed, the program runs on, the one before still stands.
 * - `crashed`: the worker before vanished; `lostMs` of work are done again.
 * - `passedOver`: a checkpoint could not be used. `attemptFailed`: the program failed and will be started again.
 * - `succeeded`, `failed`, `cancelled`: the end.
 */
export const JobEvent = z.discriminatedUnion('type', [
  z.object({ ...common, type: z.literal('submitted') }),
  z.object({ ...common, type: z.literal('started'), worker: z.string() }),
  z.object({ ...common, type: z.literal('thawed'), worker: z.string(), checkpoint: z.string(), thawMs: z.number() }),
  z.object({ ...common, type: z.literal('freezing'), worker: z.string(), why: z.string() }),
  z.object({
    ...common,
    type: z.enum(['checkpointed', 'frozen']),
    worker: z.string(),
    checkpoint: z.string(),
    frozenMs: z.number(),
    bytesSent: z.int(),
  }),
  z.object({ ...common, type: z.literal('freezeFailed'), worker: z.string(), code: z.string(), message: z.string() }),
  z.object({ ...common, type: z.literal('crashed'), worker: z.string(), lostMs: z.int() }),
  z.object({ ...common, type: z.literal('stopped'), worker: z.string(), message: z.string(), lostMs: z.int() }),
  z.object({ ...common, type: z.literal('passedOver'), checkpoint: z.string(), message: z.string() }),
  z.object({ ...common, type: z.literal('attemptFailed'), message: z.string(), failures: z.int() }),
  z.object({ ...common, type: z.enum(['succeeded', 'failed', 'cancelled']), message: z.string() }),
]);
export type JobEvent = z.output<typeof JobEvent>;

const Entries = z.array(z.tuple([z.string(), z.tuple([z.literal('event'), z.string()])]));
const Answer = z.array(z.tuple([z.string(), Entries])).nullable();

/**
 * Follows the stream from `after` (an entry id; default: from now on) until the signal aborts. `redis` is used
 * for blocking reads alone, so give it a connection of its own. An entry of a kind that this version does not know is passed over.
 */
export async function* followEvents(
  redis: Redis,
  options: { after?: string; signal: AbortSignal },
): AsyncGenerator<JobEvent> {
  let after = options.after ?? (await lastEventId(redis));
  while (!options.signal.aborted) {
    const next = await readEvents(redis, after);
    after = next.after;
    yield* next.events;
  }
}

/** The events after the entry `after`, and where to read on. Waits up to a second for one; resolves to none then. */
export async function readEvents(redis: Redis, after: string): Promise<{ events: JobEvent[]; after: string }> {
  const answer = Answer.parse(await redis.xread('COUNT', 100, 'BLOCK', 1000, 'STREAMS', redisKeys.events, after));
  const entries = answer?.[0]?.[1] ?? [];
  const events = entries.flatMap(([, [, text]]) => JobEvent.safeParse(JSON.parse(text)).data ?? []);
  return { events, after: entries.at(-1)?.[0] ?? after };
}

/** The id of the newest event, to begin following there. */
export async function lastEventId(redis: Redis): Promise<string> {
  const newest = Entries.parse(await redis.xrevrange(redisKeys.events, '+', '-', 'COUNT', 1));
  return newest[0]?.[0] ?? '0-0';
}
