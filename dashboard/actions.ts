/** What operators can ask for. Workers answer; here it is only checked whether the question makes sense. */
import { type RequestHandler, Router } from 'express';
import type { Redis } from 'ioredis';
import { FloeError, isFinal, listWorkers, poolOfJobId, readRecord, sendRequest } from '../jobs/index.ts';
import { jobPath } from './fleetPage.ts';

/** Ends a job, or asks its worker to. */
export type CancelJob = (id: string) => Promise<unknown>;

/**
 * Without a `cancel` of the caller's the request is left in the record: the job's worker finds it there, or the next one
 * that takes the job out of its queue.
 */
export function actionRoutes(redis: Redis, cancel?: CancelJob): Router {
  const ask = {
    cancel: cancel ?? ((jobId: string) => sendRequest(redis, { type: 'cancel', jobId })),
    checkpoint: (jobId: string) => sendRequest(redis, { type: 'checkpoint', jobId }),
  };
  const askOwner =
    (type: keyof typeof ask): RequestHandler<{ id: string }> =>
    async (request, response) => {
      const { id } = request.params;
      poolOfJobId(id);
      const record = await readRecord(redis, id);
      if (record === null)
        throw new FloeError('notFound', `There is no job "${id}".`, 'Look for it on the fleet page.');
      const possible = type === 'cancel' ? !isFinal(record.state) : record.state === 'running';
      if (!possible) {
        throw new FloeError('conflict', `${id} is ${record.state}: there is nothing to ${type}.`, 'Look at it again.');
      }
      await ask[type](id);
      response.redirect(303, jobPath(id));
    };

  const drain: RequestHandler<{ name: string }> = async (request, response) => {
    const { name } = request.params;
    const known = (await listWorkers(redis)).some((worker) => worker.name === name);
    if (!known) throw new FloeError('notFound', `There is no worker "${name}".`, 'Look for it on the fleet page.');
    await sendRequest(redis, { type: 'drain', worker: name });
    response.redirect(303, '/');
  };

  return Router()
    .post('/jobs/:id/cancel', askOwner('cancel'))
    .post('/jobs/:id/checkpoint', askOwner('checkpoint'))
    .post('/workers/:name/drain', drain);
}
