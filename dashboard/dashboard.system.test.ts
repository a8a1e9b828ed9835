/** What the dashboard shows and serves, and what it does when Redis is away: over real HTTP. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type JobResult, loadConfig, storeKeys } from '../jobs/index.ts';
import { runDashboard, startDashboard } from './index.ts';
import { Client } from './testing/client.ts';
import { seedJob, seedLog, seedRun, seedWorker } from './testing/seed.ts';
import { OPERATOR, type Stack, startStack } from './testing/stack.ts';

let stack: Stack;
let client: Client;

beforeAll(async () => {
  stack = await startStack();
  client = new Client(stack.dashboard.url);
  await client.login('admin', OPERATOR);
});
afterAll(() => stack[Symbol.asyncDispose]());

async function page(path: string): Promise<string> {
  return (await client.get(path)).text();
}

describe('pages', () => {
  it('show a moving job with its runs, progress and log, and mask its secrets', async () => {
    const id = await seedJob(stack.redis, {
      command: ['train', '--api-key=hunter2'],
      name: 'training',
      env: { WANDB_TOKEN: 'hunter2', EPOCHS: '90' },
    });
    const first = { epoch: 1, worker: 'spot-a', startedAt: 1_000_000, endedAt: 1_060_000, end: 'frozen' } as const;
    await seedRun(stack.redis, id, { ...first, bytesSent: 3 * 2 ** 30, frozenMs: 1500 }, { state: 'frozen' });
    const progress = { step: 'thawing', doneBytes: 2 ** 30, totalBytes: 2 ** 31, bytesPerSecond: 2 ** 28, etaMs: 4000 };
    const second = { epoch: 2, worker: 'spot-b', startedAt: 1_065_000, passedOver: ['pack 7 is damaged'] };
    await seedRun(stack.redis, id, second, { state: 'thawing', progress: JSON.stringify(progress) });
    await seedLog(stack.redis, id, 2, '\u001b[31mred <b>line</b>\u001b[0m\n');
    const job = await page(`/jobs/${id}`);
    for (const shown of ['training', 'spot-a', 'spot-b', '3.0 GiB', 'pack 7 is damaged', 'EPOCHS', '>90<']) {
      expect(job).toContain(shown);
    }
    expect(job).toContain('thawing · 1.0 GiB of 2.0 GiB · 256 MiB/s · 4.0 s left');
    expect(job).toContain('<pre>red &lt;b&gt;line&lt;/b&gt;\n</pre>');
    expect(job).not.toContain('hunter2');
    expect(await page('/')).toContain('training');
  });

  it('show workers with what they run, their notice and how long they have', async () => {
    const notice = { source: 'EC2 spot', deadlineAt: Date.now() + 90_500 };
    await seedWorker(stack.redis, {
      name: 'leaving',
      state: 'draining',
      notice,
      slots: 3,
      jobs: ['default-abcdefghij'],
    });
    const fleet = await page('/');
    expect(fleet).toContain('leaving');
    expect(fleet).toMatch(/Going away in <b data-until="\d+">1 min 30 s<\/b>: EC2 spot/);
    expect(fleet).toContain('1 of 3 slots in use');
  });

  it('come with headers that keep scripts, frames and guesses out', async () => {
    const { headers } = await client.get('/');
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.has('x-powered-by')).toBe(false);
  });

  it.each([
    ['/jobs/nonsense', 404],
    ['/jobs/default-aaaaaaaaaa', 404],
    ['/jobs/%E0%A4%A', 400],
    ['/jobs/..%2f..%2fetc%2fpasswd', 404],
    ['/no/such/page', 404],
  ])('answer %s with %i and no stack trace', async (path, status) => {
    const response = await client.get(path);
    expect(response.status).toBe(status);
    expect(await response.text()).not.toMatch(/at .*\.[jt]s:\d+/);
  });
});

describe('files of a job', () => {
  it('are served from the store, as downloads', async () => {
    const id = await seedJob(stack.redis, { command: ['true'] });
    await stack.store.create(storeKeys.input(id), Buffer.from('workspace'));
    const response = await client.get(`/jobs/${id}/files/input.tar.zst`);
    expect(await response.text()).toBe('workspace');
    expect(response.headers.get('content-disposition')).toBe(`attachment; filename=${id}-input.tar.zst`);
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
  });

  it("are never taken from outside the job's own folder", async () => {
    const id = await seedJob(stack.redis, { command: ['true'] });
    await stack.store.create('jobs/another/outputs/1.tar.zst', Buffer.from('not yours'));
    const result: JobResult = {
      version: 1,
      jobId: id,
      outcome: 'succeeded',
      end: { exitCode: 0, signal: null },
      reason: null,
      epoch: 1,
      worker: 'w',
      finishedAt: new Date().toISOString(),
      outputs: { key: 'jobs/another/outputs/1.tar.zst', sizeBytes: 9, files: 1, unmatched: [] },
      logs: null,
    };
    await seedRun(stack.redis, id, { epoch: 1, worker: 'w' }, { state: 'succeeded', result: JSON.stringify(result) });
    expect((await client.get(`/jobs/${id}/files/outputs.tar.zst`)).status).toBe(404);
  });
});

describe('Bull Board', () => {
  it('shows new pools without a restart, with the record, runs and masked data', async () => {
    const command = ['render', '--password', 'hunter2'];
    const id = await seedJob(stack.redis, { command, pool: 'fresh', env: { API_KEY: 'hunter2' } });
    await seedRun(stack.redis, id, { epoch: 1, worker: 'w9', bytesSent: 5 * 2 ** 20 }, { state: 'running' });
    const list: unknown = await (await client.get('/queues/api/queues?activeQueue=fresh')).json();
    const listed = { id, name: 'render', externalUrl: { href: `/jobs/${id}` } };
    const data = { state: 'running', record: { worker: 'w9' } };
    const jobs = [expect.objectContaining({ ...listed, externalUrl: expect.objectContaining(listed.externalUrl) })];
    expect(list).toMatchObject({ queues: expect.arrayContaining([expect.objectContaining({ name: 'fresh', jobs })]) });
    const one: unknown = await (await client.get(`/queues/api/queues/fresh/${id}`)).json();
    expect(one).toMatchObject({ job: { ...listed, data: { ...data, runs: [{ run: 1, sent: '5.0 MiB' }] } } });
    expect(JSON.stringify([list, one])).not.toContain('hunter2');
  });
});

describe('Redis away', () => {
  it('is said clearly by health check, pages and board, and is over when it is back', async () => {
    const health = () => fetch(`${stack.dashboard.url}/healthz`);
    expect([(await health()).status, await (await health()).json()]).toEqual([200, { ok: true }]);
    await stack.server.stop('SIGKILL');
    const unhealthy = await health();
    expect([unhealthy.status, await unhealthy.json()]).toEqual([503, { ok: false, reason: 'redisUnreachable' }]);
    for (const path of ['/', '/queues/api/queues']) {
      const response = await client.get(path);
      expect(response.status, path).toBe(503);
      const text = await response.text();
      expect(text).toContain('cannot be reached');
      expect(text).not.toMatch(/at .*\.[jt]s:\d+/);
    }
    await stack.server.start();
    await expect.poll(async () => (await health()).status, { timeout: 20_000 }).toBe(200);
    expect((await client.get('/')).status).toBe(200);
  });
});

describe('starting', () => {
  it('fails with a clear error on a port that is taken, and on a Redis that is not there', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const options = { redisUrl: stack.server.url, stateDir: '/nowhere', store: stack.store };
    await expect(startDashboard({ ...options, port })).rejects.toMatchObject({ code: 'invalidOption' });
    other.close();
    const redisUrl = `redis://127.0.0.1:${port}`;
    await expect(startDashboard({ ...options, redisUrl })).rejects.toMatchObject({ code: 'redisUnreachable' });
  });

  it('as a process prints address and generated password, and ends when told', async () => {
    const flags = { redisUrl: stack.server.url, store: stack.store.url, logLevel: 'silent', dashboard: { port: 0 } };
    const config = loadConfig({ flags, env: {}, folders: [] });
    const ender = new AbortController();
    const lines: string[] = [];
    const print = (line: string) => {
      lines.push(line);
      if (lines.length === 2) ender.abort();
    };
    await runDashboard(config, { print, signal: ender.signal });
    expect(lines[0]).toMatch(/^Dashboard: http:\/\/127\.0\.0\.1:\d+$/);
    expect(lines[1]).toMatch(/^Password: {2}[\w-]{20} /);
  });
});
