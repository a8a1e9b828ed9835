import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ec2Notices } from './ec2.ts';
import type { Notice } from './source.ts';

/** The real protocol: a token by PUT, without which nothing is answered; documents appear when they are set. */
const documents = new Map<string, string>();
let failuresLeft = 0;
const server = createServer((request, response) => {
  const answer = (status: number, body = '') => response.writeHead(status).end(body);
  if (failuresLeft > 0) {
    failuresLeft -= 1;
    return answer(500);
  }
  if (request.method === 'PUT' && request.url === '/latest/api/token') return answer(200, 'a-token');
  if (request.headers['x-aws-ec2-metadata-token'] !== 'a-token') return answer(401);
  const found = documents.get(request.url ?? '');
  return found === undefined ? answer(404) : answer(200, found);
});
const ACTION = '/latest/meta-data/spot/instance-action';
const REBALANCE = '/latest/meta-data/events/recommendations/rebalance';

let lines: string[] = [];
const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
const messages = () => lines.map((line) => (JSON.parse(line) as { msg: string }).msg);

beforeEach(async () => {
  documents.clear();
  lines = [];
  failuresLeft = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  delete process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT;
  if (server.listening) {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }
});

test('a spot interruption is told once, with its deadline; the next one again', async () => {
  documents.set(ACTION, '{"action":"terminate","time":"2026-09-18T08:22:00Z"}');
  const stop = new AbortController();
  const seen: Notice[] = [];
  for await (const notice of ec2Notices({ mode: 'on', pollMs: 5, logger }).watch(stop.signal)) {
    seen.push(notice);
    if (seen.length === 2) stop.abort();
    documents.set(ACTION, '{"action":"stop","time":"2026-09-18T09:00:00Z"}');
  }
  expect(seen).toEqual([
    { kind: 'notice', source: 'ec2 spot terminate', deadlineAt: Date.parse('2026-09-18T08:22:00Z') },
    { kind: 'notice', source: 'ec2 spot stop', deadlineAt: Date.parse('2026-09-18T09:00:00Z') },
  ]);
});

test('a rebalance recommendation is a hint without a deadline', async () => {
  documents.set(REBALANCE, '{"noticeTime":"2026-10-26T10:44:14Z"}');
  const stop = new AbortController();
  for await (const notice of ec2Notices({ mode: 'auto', pollMs: 5, logger }).watch(stop.signal)) {
    expect(notice).toEqual({ kind: 'hint', source: 'ec2 rebalance recommendation', deadlineAt: null });
    stop.abort();
  }
  expect.assertions(1);
});

test('a service that fails and comes back is watched on, and logged once each way', async () => {
  failuresLeft = 20;
  documents.set(ACTION, '{"action":"terminate","time":"2026-09-18T08:22:00Z"}');
  const stop = new AbortController();
  const seen: Notice[] = [];
  for await (const notice of ec2Notices({ mode: 'on', pollMs: 5, logger }).watch(stop.signal)) {
    seen.push(notice);
    stop.abort();
  }
  expect(seen).toHaveLength(1);
  expect(messages()).toEqual(['the EC2 metadata service does not answer', 'the EC2 metadata service answers again']);
});

test('with `auto`, a machine without the service has nothing to watch', async () => {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
  const seen: Notice[] = [];
  for await (const notice of ec2Notices({ mode: 'auto', pollMs: 5, logger }).watch(new AbortController().signal)) {
    seen.push(notice);
  }
  expect(seen).toEqual([]);
  expect(messages()).toEqual(['no EC2 metadata service here: no spot notices to watch for']);
});
