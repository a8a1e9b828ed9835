/** The log of a job: from Redis while it runs, from the store once it has ended. */
import type { LogEntry } from '../jobs/log.ts';
import { readLog } from '../jobs/log.ts';
import type { JobResult } from '../jobs/result.ts';
import type { Connections } from './connections.ts';
import { requireRecord } from './view.ts';

export interface LogOptions {
  /** Go on until the job has ended. Default false. */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

/** Of a finished job, all of stdout comes first, then all of stderr: only a live log tells how they interleave. */
export async function* jobLog(connections: Connections, id: string, options: LogOptions): AsyncGenerator<LogEntry> {
  const { result } = await requireRecord(connections.redis, id);
  const signal = options.signal ?? new AbortController().signal;
  if (result?.logs) {
    yield* storedLog(connections, result, result.logs, signal);
    return;
  }
  const redis = await connections.follower();
  try {
    yield* readLog(redis, id, { follow: options.follow ?? false, signal });
  } finally {
    redis.disconnect();
  }
}

async function* storedLog(
  connections: Connections,
  result: JobResult,
  logs: NonNullable<JobResult['logs']>,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  const store = await connections.store();
  for (const stream of ['stdout', 'stderr'] as const) {
    if (logs[stream].sizeBytes === 0) continue;
    let offsetBytes = 0;
    for await (const bytes of await store.getStream(logs[stream].key, { signal })) {
      if (!Buffer.isBuffer(bytes)) throw new TypeError('The store gave something other than bytes.');
      yield { kind: 'text', stream, epoch: result.epoch, offsetBytes, bytes };
      offsetBytes += bytes.length;
    }
  }
}
