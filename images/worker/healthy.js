/**
 * Exit status 0 when the worker in this container has shown itself to the fleet lately, 1 when not. It does so with every
 * beat, and what it said expires soon: a worker that hangs, or has lost Redis, is not among those that are alive.
 */
import { readFile } from 'node:fs/promises';
import { connectRedis, listWorkers, loadConfig } from '../dist/jobs/index.js';

try {
  const config = loadConfig();
  const redis = await connectRedis(config, { whenLost: 'fail' });
  // bin/start says which name it has chosen, unless it was given one.
  const name = process.env.FLOE_WORKER_NAME || (await readFile('/tmp/worker-name', 'utf8')).trim();
  const isAlive = (await listWorkers(redis)).some((worker) => worker.name === name);
  redis.disconnect();
  if (!isAlive) throw new Error(`${name} is not among the workers that are alive.`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
