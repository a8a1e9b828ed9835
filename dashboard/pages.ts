/** Everything that people look at, and the files they take with them. */
import { pipeline } from 'node:stream/promises';
import { type RequestHandler, Router } from 'express';
import type { Redis } from 'ioredis';
import { FloeError } from '../jobs/index.ts';
import type { Store } from '../store/store.ts';
import { fleetPage } from './fleetPage.ts';
import { jobPage } from './jobPage.ts';
import type { Pools } from './pools.ts';
import { fleetReader } from './readFleet.ts';
import { readJob, storedFiles } from './readJob.ts';
import { roleOf } from './security.ts';

/** As much of a store as the dashboard needs. */
export type ReadableStore = Pick<Store, 'url' | 'getStream'>;

export function pageRoutes(redis: Redis, pools: Pools, store: ReadableStore): Router {
  const readFleet = fleetReader(redis, pools);
  const showFleet: RequestHandler = async (_request, response) => {
    response.send(fleetPage(await readFleet(), roleOf(response)));
  };
  const showJob: RequestHandler<{ id: string }> = async (request, response) => {
    response.send(jobPage(await readJob(redis, pools, request.params.id), roleOf(response), store.url));
  };
  const sendFile: RequestHandler<{ id: string; name: string }> = async (request, response) => {
    const { id, name } = request.params;
    const file = storedFiles(await readJob(redis, pools, id)).find((candidate) => candidate.name === name);
    if (!file) throw new FloeError('notFound', `${id} has no file "${name}".`, 'Take one of those on its page.');
    const body = await store.getStream(file.key);
    response.attachment(`${id}-${name}`).type('application/octet-stream');
    if (file.sizeBytes !== null) response.set('Content-Length', String(file.sizeBytes));
    await pipeline(body, response);
  };
  return Router().get('/', showFleet).get('/jobs/:id', showJob).get('/jobs/:id/files/:name', sendFile);
}
