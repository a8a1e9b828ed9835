/** Who gets in, and what they can change: over real HTTP, on a real Redis. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FloeError, openQueue, readRecord, redisKeys } from '../jobs/index.ts';
import { startDashboard } from './index.ts';
import { LoginLimiter } from './loginLimiter.ts';
import { Client } from './testing/client.ts';
import { seedJob, seedRun, seedWorker } from './testing/seed.ts';
import { OPERATOR, READER, type Stack, startStack } from './testing/stack.ts';

let stack: Stack;
let operator: Client;
let reader: Client;
let runningId: string;

beforeAll(async () => {
  stack = await startStack();
  operator = new Client(stack.dashboard.url);
  reader = new Client(stack.dashboard.url);
  await operator.login(OPERATOR);
  await reader.login(READER);
  runningId = await seedJob(stack.redis, { command: ['sleep', '1000'], name: 'guarded' });
  await seedRun(stack.redis, runningId, { epoch: 1, worker: 'w1' }, { state: 'running' });
  await seedWorker(stack.redis, { name: 'w1' });
});
afterAll(() => stack[Symbol.asyncDispose]());

async function isPaused(): Promise<boolean> {
  const queue = openQueue('default', stack.redis);
  const paused = await queue.isPaused();
  await queue.close();
  return paused;
}

/** Nothing of what the refused requests of these tests ask for has happened. */
async function expectUntouched(): Promise<void> {
  const record = await readRecord(stack.redis, runningId);
  expect(record).toMatchObject({ cancelRequestedAt: null, checkpointRequestedAt: null });
  expect(await stack.redis.hexists(redisKeys.worker('w1'), 'drainRequestedAt')).toBe(0);
  expect(await isPaused()).toBe(false);
}

const changes = (): [string, string][] => [
  ['POST', `/jobs/${runningId}/cancel`],
  ['POST', `/jobs/${runningId}/checkpoint`],
  ['POST', '/workers/w1/drain'],
  ['PUT', '/queues/api/queues/pause'],
  ['PUT', '/queues/api/queues/default/pause'],
  ['PUT', '/queues/api/queues/default/obliterate'],
  ['PATCH', `/queues/api/queues/default/${runningId}/update-data`],
  ['DELETE', `/jobs/${runningId}`],
];

describe('without a login', () => {
  it('shows the login page and nothing else', async () => {
    const stranger = new Client(stack.dashboard.url);
    for (const path of ['/', `/jobs/${runningId}`, '/queues/', '/queues/queue/default', '/no/such/page']) {
      const response = await stranger.get(path);
      expect(response.status, path).toBe(303);
      expect(response.headers.get('location')).toBe(`/login?next=${encodeURIComponent(path)}`);
    }
    expect((await stranger.get('/queues/api/queues', { accept: 'application/json' })).status).toBe(401);
    for (const [method, path] of changes()) expect((await stranger.send(method, path)).status, path).toBe(401);
    await expectUntouched();
  });

  it('does not take a forged or changed cookie', async () => {
    const stranger = new Client(stack.dashboard.url);
    const payload = Buffer.from(JSON.stringify({ role: 'operator', expiresAt: Date.now() + 1e6 })).toString(
      'base64url',
    );
    for (const value of [payload, `${payload}.`, `${payload}.${'A'.repeat(43)}`, 'x']) {
      expect((await stranger.get('/', { cookie: `floe_session=${value}` })).status).toBe(303);
    }
  });
});

describe('logging in', () => {
  it('sets a cookie that scripts and other sites cannot use, and that is Secure behind TLS', async () => {
    const client = new Client(stack.dashboard.url);
    const plain = (await client.login(OPERATOR)).headers.getSetCookie()[0];
    expect(plain).toMatch(/HttpOnly/);
    expect(plain).toMatch(/SameSite=Strict/);
    expect(plain).toMatch(/Max-Age=43200/);
    expect(plain).not.toMatch(/Secure/);
    const origin = stack.dashboard.url.replace('http:', 'https:');
    const form = new URLSearchParams({ password: OPERATOR }).toString();
    expect((await client.send('POST', '/login', form, { origin })).headers.getSetCookie()[0]).toMatch(/Secure/);
  });

  it('goes on to the page that was asked for, but to no other site', async () => {
    const client = new Client(stack.dashboard.url);
    const goTo = async (next: string) => {
      const form = new URLSearchParams({ password: OPERATOR, next }).toString();
      return (await client.send('POST', '/login', form)).headers.get('location');
    };
    expect(await goTo(`/jobs/${runningId}`)).toBe(`/jobs/${runningId}`);
    expect(await goTo('//evil.example/x')).toBe('/');
  });

  it('ends with the logout', async () => {
    const client = new Client(stack.dashboard.url);
    await client.login(OPERATOR);
    const response = await client.send('POST', '/logout');
    expect(response.headers.getSetCookie()[0]).toMatch(/floe_session=;/);
  });

  it('generates a password when none is given, and it works', async () => {
    const { server, store } = stack;
    await using dashboard = await startDashboard({ redisUrl: server.url, stateDir: '/nowhere', store });
    const client = new Client(dashboard.url);
    expect((await client.login('')).status).toBe(401);
    expect((await client.login(dashboard.password ?? '')).status).toBe(303);
    expect((await client.get('/')).status).toBe(200);
  });

  it('bounds guessing: after some wrong passwords even the right one has to wait', async () => {
    const { server, store } = stack;
    const options = { redisUrl: server.url, stateDir: '/nowhere', store, password: OPERATOR };
    await using dashboard = await startDashboard(options);
    const client = new Client(dashboard.url);
    // All at once, so that none can slip through before the others have been counted.
    const guesses = Array.from({ length: LoginLimiter.PER_ADDRESS + 5 }, (_, at) => client.login(`guess ${at}`));
    const statuses = (await Promise.all(guesses)).map((response) => response.status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(LoginLimiter.PER_ADDRESS);
    expect(statuses.filter((status) => status === 429)).toHaveLength(5);
    const right = await client.login(OPERATOR);
    expect(right.status).toBe(429);
    expect(Number(right.headers.get('retry-after'))).toBeGreaterThan(200);
    // Whoever claims to be somebody else is not believed, as no proxy was configured.
    const form = new URLSearchParams({ password: OPERATOR }).toString();
    expect((await client.send('POST', '/login', form, { 'x-forwarded-for': '10.9.8.7' })).status).toBe(429);
  });
});

describe('the read-only role', () => {
  it('sees everything and has no buttons', async () => {
    const page = await (await reader.get(`/jobs/${runningId}`)).text();
    expect(page).toContain('guarded');
    expect(page).not.toContain('/cancel');
    expect(await (await reader.get('/')).text()).not.toContain('/drain');
    const board: unknown = await (await reader.get('/queues/api/queues')).json();
    expect(board).toMatchObject({ queues: [{ name: 'default', readOnlyMode: true }] });
  });

  it('is refused every change by the server', async () => {
    for (const [method, path] of changes()) expect((await reader.send(method, path)).status, path).toBe(403);
    await expectUntouched();
  });
});

describe('a request that another site caused', () => {
  it.each([
    ['a foreign origin', { origin: 'https://evil.example' }],
    ['a hidden origin', { origin: 'null' }],
    ['the same host on another port', { origin: 'http://127.0.0.1:1' }],
    ['what the browser calls cross-site', { 'sec-fetch-site': 'cross-site' }],
    ['what the browser calls same-site', { 'sec-fetch-site': 'same-site' }],
    ['no origin at all', { origin: '' }],
  ])('is refused with %s', async (_, headers) => {
    for (const [method, path] of [...changes(), ['POST', '/login'], ['POST', '/logout']] as [string, string][]) {
      expect((await operator.send(method, path, '', headers)).status, path).toBe(403);
    }
    await expectUntouched();
  });
});

describe('an operator', () => {
  it('asks the owner of a job for a checkpoint or its end', async () => {
    const id = await seedJob(stack.redis, { command: ['sleep', '5'] });
    await seedRun(stack.redis, id, { epoch: 1, worker: 'w1' }, { state: 'running' });
    for (const action of ['checkpoint', 'cancel']) {
      const response = await operator.send('POST', `/jobs/${id}/${action}`);
      expect([response.status, response.headers.get('location')]).toEqual([303, `/jobs/${id}`]);
    }
    const record = await readRecord(stack.redis, id);
    expect(record?.checkpointRequestedAt).toBeGreaterThan(0);
    expect(record?.cancelRequestedAt).toBeGreaterThan(0);
  });

  it('asks a worker to drain, and leaves no trace of one that is not there', async () => {
    await seedWorker(stack.redis, { name: 'w/2 ü' });
    expect((await operator.send('POST', `/workers/${encodeURIComponent('w/2 ü')}/drain`)).status).toBe(303);
    expect(await stack.redis.hexists(redisKeys.worker('w/2 ü'), 'drainRequestedAt')).toBe(1);
    expect((await operator.send('POST', '/workers/ghost/drain')).status).toBe(404);
    expect(await stack.redis.exists(redisKeys.worker('ghost'))).toBe(0);
  });

  it('is told when there is nothing to do or nobody to ask', async () => {
    const id = await seedJob(stack.redis, { command: ['true'] });
    expect((await operator.send('POST', `/jobs/${id}/checkpoint`)).status).toBe(409);
    await seedRun(stack.redis, id, { epoch: 1, worker: 'w1', end: 'finished' }, { state: 'succeeded' });
    const response = await operator.send('POST', `/jobs/${id}/cancel`);
    expect(response.status).toBe(409);
    expect(await response.text()).toContain('is succeeded: there is nothing to cancel');
    expect((await operator.send('POST', '/jobs/default-aaaaaaaaaa/cancel')).status).toBe(404);
    expect(await stack.redis.exists(redisKeys.record('default-aaaaaaaaaa'))).toBe(0);
  });

  it('cancels in the way that the program around the dashboard gave', async () => {
    const { server, store } = stack;
    const cancelled: string[] = [];
    const cancel = async (id: string) => {
      if (cancelled.includes(id)) throw new FloeError('conflict', `${id} has ended already.`, 'Nothing to do.');
      cancelled.push(id);
    };
    const options = { redisUrl: server.url, stateDir: '/nowhere', store, password: OPERATOR, cancel };
    await using dashboard = await startDashboard(options);
    const client = new Client(dashboard.url);
    await client.login(OPERATOR);
    expect((await client.send('POST', `/jobs/${runningId}/cancel`)).status).toBe(303);
    expect((await client.send('POST', `/jobs/${runningId}/cancel`)).status).toBe(409);
    expect(cancelled).toEqual([runningId]);
  });

  it('can pause queues in Bull Board but not touch jobs behind their records', async () => {
    const id = await seedJob(stack.redis, { command: ['true'], pool: 'other' });
    const json = { 'content-type': 'application/json' };
    const pause = (what: string) => operator.send('PUT', `/queues/api/queues/other/${what}`, '{}', json);
    const queue = openQueue('other', stack.redis);
    expect((await pause('pause')).status).toBe(200);
    expect(await queue.isPaused()).toBe(true);
    expect((await pause('resume')).status).toBe(200);
    for (const [method, path] of [
      ['PATCH', `other/${id}/update-data`],
      ['PUT', `other/${id}/clean`],
      ['PUT', 'other/empty'],
      ['PUT', 'other/obliterate'],
      ['POST', 'other/add'],
    ] as const) {
      expect((await operator.send(method, `/queues/api/queues/${path}`, '{}', json)).status, path).toBe(403);
    }
    expect((await queue.getJob(id))?.data.spec.command).toEqual(['true']);
    await queue.close();
  });
});
