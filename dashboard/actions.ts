/** What operators can ask for. Workers answer; here it is only checked whether the question makes sense. */
import { type RequestHandler, Router } from 'express';
import type { Redis } from 'ioredis';
import { FloeError, isFinal, listWorkers, poolOfJobId, readRecord, sendRequest } from '../jobs/index.ts';
import { jobPath } from './fleetPage.ts';

export function actionRoutes(redis: Redis): Router {
  const askOwner =
    (type: 'cancel' | 'checkpoint'): RequestHandler<{ id: string }> =>
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
      await sendRequest(redis, { type, jobId: id });
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
