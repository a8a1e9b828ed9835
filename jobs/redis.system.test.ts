import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startRedis } from '../test/support/redis.ts';
import { stopEmbeddedRedis } from './embeddedRedis.ts';
import { asRedisError, connectRedis, connectTo } from './redis.ts';

let stateDir: string;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'floe-redis-'));
});
afterEach(async () => {
  await stopEmbeddedRedis(stateDir);
  await rm(stateDir, { recursive: true, force: true });
});

describe('the embedded server', () => {
  const connect = () => connectRedis({ redisUrl: null, stateDir }, { whenLost: 'wait' });

  it('is one, however many ask for it at the same moment', async () => {
    const all = await Promise.all(Array.from({ length: 6 }, connect));
    const ids = await Promise.all(all.map(async (redis) => /run_id:(\w+)/.exec(await redis.info('server'))?.[1]));
    expect(new Set(ids).size).toBe(1);
    for (const redis of all) redis.disconnect();
  });

  it('keeps everything over its end, evicts nothing, and serves BullMQ', async () => {
    const first = await connect();
    expect(await first.config('GET', 'maxmemory-policy')).toContain('noeviction');
    const queue = new Queue('q', { connection: first });
    await queue.add('job', { kept: true });
    await queue.close();
    first.disconnect();
    expect(await stopEmbeddedRedis(stateDir)).toBe(true);
    expect(await stopEmbeddedRedis(stateDir)).toBe(false);
    const second = await connect();
    const done = Promise.withResolvers<unknown>();
    const worker = new Worker('q', async (job) => done.resolve(job.data), { connection: second });
    expect(await done.promise).toEqual({ kept: true });
    await worker.close();
    second.disconnect();
  });

  it('starts again after it was killed', async () => {
    const first = await connect();
    await first.set('key', 'value');
    const pid = Number(/process_id:(\d+)/.exec(await first.info('server'))?.[1]);
    process.kill(pid, 'SIGKILL');
    first.disconnect();
    const second = await connect();
    expect(await second.get('key')).toBe('value');
    second.disconnect();
  });

  it('is for its owner alone', async () => {
    (await connect()).disconnect();
    expect((await stat(join(stateDir, 'redis'))).mode & 0o077).toBe(0);
  });

  it('says that its folder cannot be made', async () => {
    await writeFile(join(stateDir, 'redis'), 'a file where a folder should be');
    await expect(connect()).rejects.toMatchObject({
      code: 'invalidOption',
      remedy: expect.stringContaining('FLOE_STATE_DIR'),
    });
  });
});

describe('a connection', () => {
  it('is refused in plain words', async () => {
    await using server = await startRedis({ password: 'right' });
    const connect = (url: string) => connectTo(url, { whenLost: 'wait' });
    await expect(connect(server.url.replace(':right@', ':wrong@'))).rejects.toMatchObject({
      code: 'redisRefused',
      message: expect.stringMatching(/^Redis at redis:\/\/127\.0\.0\.1:\d+\/0 refuses.*wrong user or password\.$/),
    });
    await expect(connect(server.url.replace(':right@', ''))).rejects.toMatchObject({ code: 'redisRefused' });
    await expect(connect(server.url.replace('/0', '/4711'))).rejects.toMatchObject({ code: 'redisRefused' });
    (await connect(server.url)).disconnect();
  });

  it('to nobody fails at once, even one that would wait later', async () => {
    const found = connectTo('redis://user:secret@127.0.0.1:1', { whenLost: 'wait' });
    await expect(found).rejects.toMatchObject({
      code: 'redisUnreachable',
      message: 'Redis at redis://127.0.0.1:1 cannot be reached: connect ECONNREFUSED 127.0.0.1:1.',
    });
  });

  it('that was lost fails commands, or keeps them until Redis is back, as told', async () => {
    await using server = await startRedis();
    const failing = await connectTo(server.url, { whenLost: 'fail' });
    const waiting = await connectTo(server.url, { whenLost: 'wait' });
    await server.stop();
    const rejection = await failing.get('key').catch((error: unknown) => asRedisError(error, server.url));
    expect(rejection).toMatchObject({ code: 'redisUnreachable' });
    const answer = waiting.set('key', 'value');
    await server.start();
    expect(await answer).toBe('OK');
    failing.disconnect();
    waiting.disconnect();
  });
});
