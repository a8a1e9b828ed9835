/** Bull Board behind our login: formatted for people, secrets masked, unable to break what Floe keeps beside BullMQ. */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { AfterHook, BeforeHook } from '@bull-board/api/typings/app';
import { ExpressAdapter } from '@bull-board/express';
import { type RequestHandler, Router } from 'express';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { JobRecord, readRuns, redisKeys } from '../jobs/index.ts';
import type { Role } from './accounts.ts';
import { boardData, boardName, boardProgress, boardRecord, boardReturnValue } from './boardFormat.ts';
import type { Pools } from './pools.ts';
import { roleOf } from './security.ts';

export const BOARD_PATH = '/queues';

/**
 * What operators may change here: queues, and when a waiting attempt begins. Anything else (adding, editing, retrying or
 * removing a job) would pass by the job's record and store, and is refused; jobs are cancelled on their own page.
 */
const ALLOWED_CHANGES: readonly string[] = [
  '/api/queues/pause',
  '/api/queues/resume',
  '/api/queues/:queueName/pause',
  '/api/queues/:queueName/resume',
  '/api/queues/:queueName/concurrency',
  '/api/queues/:queueName/rate-limit',
  '/api/queues/:queueName/rate-limit/release',
  '/api/queues/:queueName/promote',
  '/api/queues/:queueName/:jobId/promote',
];

const before: BeforeHook = ({ method, route }) => {
  if (method === 'get' || ALLOWED_CHANGES.includes(route)) return { allow: true };
  return {
    allow: false,
    status: 403,
    message: "Floe keeps more of a job than this queue knows: use the job's own page.",
  };
};

/** One board per role, because Bull Board's read-only mode belongs to the queue's adapter. New pools show up by themselves. */
export function boardRoutes(redis: Redis, pools: Pools): Router {
  const boards = { operator: openBoard(redis, 'operator'), readOnly: openBoard(redis, 'readOnly') };
  const choose: RequestHandler = async (request, response, next) => {
    const board = boards[roleOf(response)];
    for (const [pool, queue] of await pools.look()) board.show(pool, () => new BullMQAdapter(queue, board.options));
    board.handle(request, response, next);
  };
  return Router().use(choose);
}

/** The accent colour of our own pages. */
function accents(colour: string) {
  const selected = `color-mix(in srgb, ${colour} 16%, transparent)`;
  return {
    primary: colour,
    ring: colour,
    'state-selected': selected,
    'state-selected-foreground': colour,
    'sidebar-primary': colour,
    'sidebar-state-selected': selected,
    'sidebar-state-selected-foreground': colour,
  };
}

interface Board {
  handle: RequestHandler;
  options: ConstructorParameters<typeof BullMQAdapter>[1];
  /** Adds a queue unless it is there. */
  show(pool: string, open: () => BullMQAdapter): void;
}

function openBoard(redis: Redis, role: Role): Board {
  const server = new ExpressAdapter().setBasePath(BOARD_PATH);
  const { addQueue } = createBullBoard({
    queues: [],
    serverAdapter: server,
    options: {
      handlerHooks: { before, after: describeJobs(redis) },
      uiConfig: {
        boardTitle: role === 'operator' ? 'Floe' : 'Floe · read-only',
        boardLogo: { path: '/assets/floe.svg', width: 24, height: 24 },
        favIcon: { default: '/assets/floe.svg', alternative: '/assets/floe.svg' },
        miscLinks: [{ text: 'Fleet', url: '/' }],
        hideDocsLink: true,
        theme: { light: accents('#0f6fae'), dark: accents('#4cb4ea') },
        jobDetails: { defaultTab: 'Data' },
      },
    },
  });
  const shown = new Set<string>();
  return {
    handle: server.getRouter(),
    options: {
      readOnlyMode: role === 'readOnly',
      allowRetries: false,
      externalJobUrl: ({ id }) => ({ href: `/jobs/${encodeURIComponent(String(id))}`, displayText: 'Open in Floe' }),
    },
    show(pool, open) {
      if (shown.has(pool)) return;
      const adapter = open();
      adapter.setFormatter('name', boardName);
      adapter.setFormatter('data', boardData);
      adapter.setFormatter('progress', boardProgress);
      adapter.setFormatter('returnValue', boardReturnValue);
      addQueue(adapter);
      shown.add(pool);
    },
  };
}

const BoardJob = z.looseObject({ id: z.string(), data: z.looseObject({}) });
const OneJob = z.looseObject({ job: BoardJob });
const Queues = z.looseObject({ queues: z.array(z.looseObject({ jobs: z.array(BoardJob) })) });
const Schedulers = z.looseObject({ schedulers: z.array(z.looseObject({})) });

/** Adds to every answer about jobs what the queue itself does not know: the record and, for a single job, its runs. */
function describeJobs(redis: Redis): AfterHook {
  return async ({ route }, result) => {
    const one = OneJob.safeParse(result.body);
    if (one.success) return { ...result, body: { ...one.data, job: await withRecord(redis, one.data.job, true) } };
    const all = Queues.safeParse(result.body);
    if (all.success) {
      const queues = all.data.queues.map(async (queue) => ({
        ...queue,
        jobs: await Promise.all(queue.jobs.map((job) => withRecord(redis, job, false))),
      }));
      return { ...result, body: { ...all.data, queues: await Promise.all(queues) } };
    }
    // A scheduler's template is a job's data as it was written, secrets included; no formatter is asked for it.
    const schedulers = route === '/api/job-schedulers' ? Schedulers.safeParse(result.body) : null;
    if (!schedulers?.success) return result;
    return { ...result, body: { schedulers: schedulers.data.schedulers.map(({ template: _, ...rest }) => rest) } };
  };
}

async function withRecord(redis: Redis, job: z.output<typeof BoardJob>, withRuns: boolean): Promise<object> {
  const record = JobRecord.safeParse(await redis.hgetall(redisKeys.record(job.id)));
  if (!record.success) return job;
  const runs = withRuns ? await readRuns(redis, job.id) : [];
  return { ...job, data: { ...boardRecord(record.data, runs), ...job.data } };
}
