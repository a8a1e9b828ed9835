/**
 * Spot interruption notices and rebalance recommendations of EC2's instance metadata service, version 2 (IMDSv2).
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
 */
import { setInterval } from 'node:timers/promises';
import { MetadataService } from '@aws-sdk/ec2-metadata-service';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Notice, NoticeSource } from './source.ts';

/** How long one request may take: the service is in the machine's own network card. */
const REQUEST_TIMEOUT_MS = 2000;
/** How often a machine is asked at the start before it is taken for none of EC2's. */
const DETECTION_TRIES = 3;

const json = <T extends z.ZodType>(schema: T) =>
  z
    .string()
    .transform((text) => JSON.parse(text) as unknown)
    .pipe(schema);
const InstanceAction = json(z.object({ action: z.string(), time: z.iso.datetime({ offset: true }) }));
const Rebalance = json(z.object({ noticeTime: z.iso.datetime({ offset: true }) }));

/**
 * `auto` watches only where the service answers at the start; `on` always. The endpoint is the SDK's own setting,
 * `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
 */
export function ec2Notices(options: { mode: 'auto' | 'on'; pollMs: number; logger: Logger }): NoticeSource {
  return {
    name: 'ec2',
    async *watch(signal) {
      if (options.mode === 'auto' && !(await isOnEc2(options.pollMs, signal))) {
        options.logger.info('no EC2 metadata service here: no spot notices to watch for');
        return;
      }
      yield* poll(options, signal);
    },
  };
}

async function* poll(options: { pollMs: number; logger: Logger }, signal: AbortSignal): AsyncGenerator<Notice> {
  const told = new Set<string>();
  let problem = '';
  for await (const _ of every(options.pollMs, signal)) {
    try {
      for (const [key, notice] of await ask()) {
        if (!told.has(key)) yield notice;
        told.add(key);
      }
      if (problem !== '') options.logger.info('the EC2 metadata service answers again');
      problem = '';
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== problem) options.logger.warn({ err: error }, 'the EC2 metadata service does not answer');
      problem = message;
    }
  }
}

/** What is announced at the moment, each under a key that tells it from the next of its kind. */
async function ask(): Promise<[string, Notice][]> {
  const [action, rebalance] = await Promise.all([
    read('spot/instance-action', InstanceAction),
    read('events/recommendations/rebalance', Rebalance),
  ]);
  const found: [string, Notice][] = [];
  if (action) {
    const notice = {
      kind: 'notice',
      source: `ec2 spot ${action.action}`,
      deadlineAt: Date.parse(action.time),
    } as const;
    found.push([`${action.action} ${action.time}`, notice]);
  }
  if (rebalance) {
    found.push([
      `rebalance ${rebalance.noticeTime}`,
      { kind: 'hint', source: 'ec2 rebalance recommendation', deadlineAt: null },
    ]);
  }
  return found;
}

/** The parsed document, or null where there is none (404). */
async function read<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T> | null> {
  try {
    return schema.parse(await metadata().request(`latest/meta-data/${path}`, {}));
  } catch (error) {
    if (statusOf(error) === 404) return null;
    throw error;
  }
}

/** A new one for every request: after one timeout the SDK's client stops asking for tokens for good. */
function metadata(): MetadataService {
  return new MetadataService({
    ec2MetadataV1Disabled: true,
    retries: 0,
    httpOptions: { timeout: REQUEST_TIMEOUT_MS },
  });
}

async function isOnEc2(pollMs: number, signal: AbortSignal): Promise<boolean> {
  let tries = 0;
  for await (const _ of every(pollMs, signal)) {
    try {
      await metadata().fetchMetadataToken();
      return true;
    } catch {
      tries += 1; // no route, refused, no such path: each means "not here", unless it passes
      if (tries === DETECTION_TRIES) return false;
    }
  }
  return false;
}

/** Once at first, then after each interval; ends when the signal aborts. */
async function* every(intervalMs: number, signal: AbortSignal): AsyncGenerator<void> {
  if (!signal.aborted) yield;
  try {
    for await (const _ of setInterval(intervalMs, undefined, { signal })) yield;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function statusOf(error: unknown): number | undefined {
  const Wrapped = z.object({ $metadata: z.object({ httpStatusCode: z.number() }) });
  return Wrapped.safeParse(error).data?.$metadata.httpStatusCode;
}
