/** Who gets in, and what they can change: over real HTTP, on a real Redis. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FloeError, openQueue, readRecord, redisKeys } from '../jobs/index.ts';
import { type DashboardOptions, startDashboard } from './index.ts';
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
  await operator.login('admin', OPERATOR);
  await reader.login('viewer', READER);
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

/** A dashboard of its own, whose throttle nobody else uses. */
function another(options: Partial<DashboardOptions> = {}) {
  const { server, store } = stack;
  const passwords = { password: OPERATOR, readOnlyPassword: READER };
  return startDashboard({ redisUrl: server.url, stateDir: '/nowhere', store, ...passwords, ...options });
}

function cookieOf(response: Response): string {
  return response.headers.getSetCookie()[0]?.split(';')[0] ?? '';
}

/** As somebody would who does what the page says: once more, when it says so. */
async function loginPatiently(client: Client, name: string, password: string): Promise<number> {
  const response = await client.login(name, password);
  if (response.status !== 429) return response.status;
  await delay(Number(response.headers.get('retry-after')) * 1000);
  return (await client.login(name, password)).status;
}

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
  it('sets a cookie that scripts and other sites cannot use, and behind TLS one that no other host can set', async () => {
    const client = new Client(stack.dashboard.url);
    const plain = (await client.login('admin', OPERATOR)).headers.getSetCookie()[0];
    expect(plain).toMatch(/^floe_session=/);
    expect(plain).toMatch(/HttpOnly/);
    expect(plain).toMatch(/SameSite=Strict/);
    expect(plain).toMatch(/Max-Age=43200/);
    expect(plain).not.toMatch(/Secure/);
    const origin = stack.dashboard.url.replace('http:', 'https:');
    const secure = (await client.login('admin', OPERATOR, { origin })).headers.getSetCookie()[0];
    expect(secure).toMatch(/^__Host-floe_session=.*Path=\/;.*Secure/);
    expect(secure).not.toMatch(/Domain/);
    expect((await client.get('/')).status).toBe(200);
  });

  it('is by name and password: a name with the password of another opens nothing, and a program may leave its name out', async () => {
    const client = new Client(stack.dashboard.url);
    for (const [name, password] of [
      ['viewer', OPERATOR],
      ['admin', READER],
      ['root', OPERATOR],
      ['', OPERATOR],
    ] as const) {
      expect((await client.login(name, password)).status, name).toBe(401);
    }
    expect((await client.send('POST', '/login', new URLSearchParams({ password: READER }).toString())).status).toBe(
      401,
    );
    expect((await client.send('POST', '/login', new URLSearchParams({ password: OPERATOR }).toString())).status).toBe(
      303,
    );
    // What password managers kept of earlier versions.
    expect((await client.login('floe', OPERATOR)).status).toBe(303);
  });

  it('begins a session that nobody has chosen, and ends the one before', async () => {
    const client = new Client(stack.dashboard.url);
    await client.send('POST', '/login', '', { cookie: 'floe_session=chosen' });
    expect((await client.get('/', { cookie: 'floe_session=chosen' })).status).toBe(303);
    const first = cookieOf(await client.login('admin', OPERATOR));
    const second = cookieOf(await client.login('admin', OPERATOR));
    expect(second).not.toBe(first);
    expect((await client.get('/', { cookie: first })).status).toBe(303);
    expect((await client.get('/', { cookie: second })).status).toBe(200);
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

  it('ends with the logout, also for somebody who has copied the cookie', async () => {
    const client = new Client(stack.dashboard.url);
    const stolen = cookieOf(await client.login('admin', OPERATOR));
    expect((await client.get('/', { cookie: stolen })).status).toBe(200);
    const response = await client.send('POST', '/logout');
    expect(response.headers.getSetCookie()).toEqual([
      expect.stringMatching(/^__Host-floe_session=;.*Secure/),
      expect.stringMatching(/^floe_session=;/),
    ]);
    expect((await client.get('/', { cookie: stolen })).status).toBe(303);
    expect((await client.send('POST', `/jobs/${runningId}/cancel`, '', { cookie: stolen })).status).toBe(401);
    await expectUntouched();
  });

  it('ends everywhere when an operator says so, and a viewer cannot', async () => {
    const { server, store } = stack;
    const options = { redisUrl: server.url, stateDir: '/nowhere', store, password: OPERATOR, readOnlyPassword: READER };
    await using dashboard = await startDashboard(options);
    const [one, two, viewer] = [new Client(dashboard.url), new Client(dashboard.url), new Client(dashboard.url)];
    await Promise.all([one.login('admin', OPERATOR), two.login('admin', OPERATOR), viewer.login('viewer', READER)]);
    const statuses = async () =>
      (await Promise.all([one, two, viewer].map((client) => client.get('/')))).map(({ status }) => status);
    expect((await viewer.send('POST', '/logout/everywhere')).status).toBe(403);
    expect((await new Client(dashboard.url).send('POST', '/logout/everywhere')).status).toBe(403);
    expect(await statuses()).toEqual([200, 200, 200]);
    expect(await (await viewer.get('/')).text()).not.toContain('/logout/everywhere');
    expect((await one.send('POST', '/logout/everywhere')).status).toBe(303);
    expect(await statuses()).toEqual([303, 303, 303]);
  });

  it('generates a password when none is given, and it works', async () => {
    const { server, store } = stack;
    await using dashboard = await startDashboard({ redisUrl: server.url, stateDir: '/nowhere', store });
    const client = new Client(dashboard.url);
    expect((await client.login('admin', '')).status).toBe(401);
    expect((await client.login('admin', dashboard.password ?? '')).status).toBe(303);
    expect((await client.get('/')).status).toBe(200);
  });

  it('slows guessing down, and after it lets the right password in', async () => {
    await using dashboard = await another();
    const client = new Client(dashboard.url);
    // All at once, so that none can slip through before the others have been counted.
    const guesses = Array.from({ length: 40 }, (_, at) => client.login('admin', `guess ${at}`));
    const statuses = (await Promise.all(guesses)).map((response) => response.status);
    expect(statuses.filter((status) => status === 401).length).toBeLessThan(10);
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(30);
    expect(await loginPatiently(client, 'admin', OPERATOR)).toBe(303);
  });

  it('does not let the viewer forgive guesses at the operator (M2)', async () => {
    await using dashboard = await another();
    const client = new Client(dashboard.url);
    let compared = 0;
    for (let round = 0; round < 10; round += 1) {
      const guesses = Array.from({ length: 9 }, (_, at) => client.login('admin', `guess ${at}`));
      expect((await client.login('viewer', READER)).status).toBe(303);
      // Those that wait are given up: that they were counted is what matters.
      const quick = guesses.map((guess) => Promise.race([guess, client.get('/assets/floe.svg').then(() => null)]));
      const ended = (await Promise.all(quick)).filter((response) => response !== null);
      compared += ended.filter(({ status }) => status === 401).length;
    }
    expect(compared).toBeLessThan(20);
    const refused = await client.login('admin', 'guess');
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThan(10);
  });

  it('locks nobody out who comes through the same proxy as somebody who guesses (M3)', async () => {
    await using dashboard = await another({ trustProxy: 1 });
    const client = new Client(dashboard.url);
    const from = (address: string) => ({ 'x-forwarded-for': address });
    const guesses = Array.from({ length: 40 }, (_, at) => client.login('admin', `guess ${at}`, from('192.0.2.1')));
    expect((await client.login('viewer', READER, from('192.0.2.1'))).status).toBe(303);
    expect((await client.login('admin', OPERATOR, from('192.0.2.2'))).status).toBe(303);
    await Promise.all(guesses);
  });

  it('believes nobody who says where he comes from, unless a proxy is trusted', async () => {
    for (const trustProxy of [undefined, ['192.0.2.9']]) {
      await using dashboard = await another({ trustProxy });
      const client = new Client(dashboard.url);
      const guesses = Array.from({ length: 40 }, (_, at) =>
        client.login('admin', `guess ${at}`, { 'x-forwarded-for': `192.0.2.${at}` }),
      );
      const statuses = (await Promise.all(guesses)).map((response) => response.status);
      expect(statuses.filter((status) => status === 401).length).toBeLessThan(10);
      const forged = await client.login('viewer', READER, { 'x-forwarded-proto': 'https' });
      expect(forged.headers.getSetCookie()[0]).not.toMatch(/Secure/);
    }
  });

  it('takes only the `__Host-` cookie where a trusted proxy says that TLS is in front', async () => {
    await using dashboard = await another({ trustProxy: ['loopback'] });
    const client = new Client(dashboard.url);
    const tls = { 'x-forwarded-proto': 'https' };
    const cookie = cookieOf(await client.login('admin', OPERATOR, tls));
    expect(cookie).toMatch(/^__Host-/);
    expect((await client.get('/', { ...tls, cookie })).status).toBe(200);
    const planted = cookie.replace('__Host-', '');
    expect((await client.get('/', { ...tls, cookie: planted })).status).toBe(303);
  });
});

describe('a client that is no browser', () => {
  it('is cut off when it never says what it wants, and when it sends too much', async () => {
    const { hostname, port } = new URL(stack.dashboard.url);
    const silent = ['', 'POST /login HTTP/1.1\r\nhost: a\r\n', 'GET /'].map((words) => {
      const socket = connect(Number(port), hostname, () => socket.write(words));
      socket.resume();
      return once(socket, 'close');
    });
    const client = new Client(stack.dashboard.url);
    expect((await client.login('admin', 'x'.repeat(9000))).status).toBe(413);
    expect((await client.login('admin', 'x'.repeat(2000))).status).toBe(400);
    expect((await client.get('/', { cookie: `floe_session=${'x'.repeat(20_000)}` })).status).toBe(431);
    await Promise.all(silent);
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
    await client.login('admin', OPERATOR);
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
