/**
 * An EC2 instance metadata endpoint for one pretended spot instance, over real HTTP: IMDSv2 as in the EC2 user guide, "Use
 * the Instance Metadata Service to access instance metadata" and "Spot Instance interruption notices". Point a
 * worker at it by `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

const MAX_TTL_SECONDS = 21_600;
const REQUESTS_KEPT = 1000;
const TTL_HEADER = 'x-aws-ec2-metadata-token-ttl-seconds';
const TOKEN_HEADER = 'x-aws-ec2-metadata-token';

export interface MetadataRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

export interface Metadata extends AsyncDisposable {
  /** For `AWS_EC2_METADATA_SERVICE_ENDPOINT`, without a final slash. */
  readonly url: string;
  /** From now on there is a notice that the instance is terminated in `inMs`. Returns that time, in whole seconds as EC2 gives it. */
  interrupt(inMs: number): Date;
  /** From now on rebalancing is recommended: the instance is at risk. */
  rebalance(): void;
  /** The latest 1000 requests, oldest first. */
  requests(): readonly MetadataRequest[];
}

/** Listens on a free port of the loopback interface. `instanceId` has a random default. */
export async function startMetadata(options: { instanceId?: string } = {}): Promise<Metadata> {
  const values = new Map(Object.entries(instanceValues(options.instanceId)));
  const tokens = new Map<string, number>();
  const requests: MetadataRequest[] = [];

  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace(/^\/+/, '/');
    respond(request, path, response);
    requests.push({ method: request.method ?? '', path, status: response.statusCode });
    if (requests.length > REQUESTS_KEPT) requests.shift();
  });

  function respond(request: IncomingMessage, path: string, response: ServerResponse): ServerResponse {
    if (path === '/latest/api/token') return giveToken(request, response);
    if (request.method !== 'GET') return send(response, 405);
    const expiresAt = tokens.get(String(request.headers[TOKEN_HEADER])) ?? 0;
    if (expiresAt <= Date.now()) return send(response, 401);
    const value = values.get(path.replace('/latest/meta-data/', ''));
    return value === undefined ? send(response, 404) : send(response, 200, value);
  }

  function giveToken(request: IncomingMessage, response: ServerResponse): ServerResponse {
    if (request.method !== 'PUT') return send(response, 405);
    // A request that came through a proxy may not be the instance's own.
    if (request.headers['x-forwarded-for'] !== undefined) return send(response, 403);
    const ttl = Number(request.headers[TTL_HEADER]);
    if (!Number.isInteger(ttl) || ttl < 1 || ttl > MAX_TTL_SECONDS) return send(response, 400);
    for (const [old, expiresAt] of tokens) if (expiresAt <= Date.now()) tokens.delete(old);
    const token = randomBytes(40).toString('base64');
    tokens.set(token, Date.now() + ttl * 1000);
    response.setHeader(TTL_HEADER, ttl);
    return send(response, 200, token);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the metadata endpoint has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    interrupt(inMs) {
      const time = new Date(Math.floor((Date.now() + inMs) / 1000) * 1000);
      values.set('spot/instance-action', JSON.stringify({ action: 'terminate', time: wholeSeconds(time) }));
      values.set('spot/termination-time', wholeSeconds(time));
      return time;
    },
    rebalance() {
      values.set('events/recommendations/rebalance', JSON.stringify({ noticeTime: wholeSeconds(new Date()) }));
    },
    requests: () => [...requests],
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function instanceValues(instanceId = `i-${randomUUID().replaceAll('-', '').slice(0, 17)}`): Record<string, string> {
  return {
    'instance-id': instanceId,
    'instance-type': 'm7i.large',
    'instance-life-cycle': 'spot',
    'placement/region': 'eu-central-1',
    'placement/availability-zone': 'eu-central-1a',
    'autoscaling/target-lifecycle-state': 'InService',
  };
}

function wholeSeconds(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, 'Z');
}

function send(response: ServerResponse, status: number, body = ''): ServerResponse {
  response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
  return response.end(body);
}
