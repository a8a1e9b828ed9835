/** Waiting for what happens to jobs. */
import type { Redis } from 'ioredis';
import { FloeError } from '../jobs/errors.ts';
import { followEvents, type JobEvent, lastEventId, readEvents } from '../jobs/events.ts';
import { sendRequest } from '../jobs/fleet.ts';
import type { JobResult } from '../jobs/result.ts';
import { isFinal } from '../jobs/state.ts';
import type { Connections } from './connections.ts';
import { requireRecord } from './view.ts';

/** Everything that happens to any job from now on, until the signal aborts. Outlasts a restart of Redis. */
export async function* follow(
  connections: Connections,
  signal: AbortSignal,
  after?: string,
): AsyncGenerator<JobEvent, void> {
  const redis = await connections.follower();
  try {
    yield* followEvents(redis, { signal, ...(after === undefined ? {} : { after }) });
  } finally {
    redis.disconnect();
  }
}

/**
 * How the job ended, once it has. Rejects with the signal's reason when that aborts first. All of it goes over the
 * connection that outlasts a restart of Redis: the other one may not be back yet when the job's end is told.
 */
export async function waitForResult(connections: Connections, id: string, signal: AbortSignal): Promise<JobResult> {
  const redis = await connections.follower();
  try {
    const after = await lastEventId(redis);
    const before = await requireRecord(redis, id);
    if (!isFinal(before.state)) await waitForEnd(redis, id, signal, after);
    const { result } = isFinal(before.state) ? before : await requireRecord(redis, id);
    if (result !== null) return result;
    // The store's is anybody's who can write there.
    throw new FloeError('internal', `${id} has ended, and its record has no result.`, `See \`floe status ${id}\`.`);
  } finally {
    redis.disconnect();
  }
}

async function waitForEnd(redis: Redis, id: string, signal: AbortSignal, after: string): Promise<void> {
  for (let position = after; ; ) {
    signal.throwIfAborted();
    const { events, after: next } = await readEvents(redis, position);
    if (events.some((event) => event.jobId === id && isEnd(event))) return;
    // The stream is capped: the event may have been pushed out before it was read.
    if (events.length === 0 && isFinal((await requireRecord(redis, id)).state)) return;
    position = next;
  }
}

function isEnd(event: JobEvent): boolean {
  return event.type === 'succeeded' || event.type === 'failed' || event.type === 'cancelled';
}

export interface CommittedCheckpoint {
  readonly checkpoint: string;
  /** Time that the program stood still, in ms. */
  readonly frozenMs: number;
  readonly bytesSent: number;
}

/** Asks the job's worker for a checkpoint and resolves once one is committed. The next run does not know of the request. */
export async function requestCheckpoint(
  connections: Connections,
  id: string,
  signal: AbortSignal,
): Promise<CommittedCheckpoint> {
  const after = await lastEventId(connections.redis);
  const { state } = await requireRecord(connections.redis, id);
  if (state === 'queued' || state === 'frozen' || isFinal(state)) throw notRunning(id, state);
  await sendRequest(connections.redis, { type: 'checkpoint', jobId: id });
  for await (const event of follow(connections, signal, after)) {
    if (event.jobId !== id) continue;
    if (event.type === 'checkpointed' || event.type === 'frozen') {
      return { checkpoint: event.checkpoint, frozenMs: event.frozenMs, bytesSent: event.bytesSent };
    }
    if (event.type === 'freezeFailed') throw freezeFailed(id, event.message);
    if (isEnd(event)) throw notRunning(id, event.type);
    if (event.type === 'crashed' || event.type === 'stopped' || event.type === 'attemptFailed') {
      throw notRunning(id, 'not running any more');
    }
  }
  signal.throwIfAborted();
  throw new FloeError('internal', `The events of ${id} ended by themselves.`, 'Ask for the checkpoint again.');
}

function notRunning(id: string, state: string): FloeError {
  return new FloeError(
    'conflict',
    `${id} cannot be checkpointed: it is ${state}.`,
    'Only a job that runs can be; see `floe status`.',
  );
}

function freezeFailed(id: string, message: string): FloeError {
  return new FloeError(
    'cannotFreeze',
    `No checkpoint of ${id} was taken: ${message.replace(/\.$/, '')}.`,
    'The job runs on, and the checkpoint before still stands.',
  );
}
