/** A reverse proxy in front of an S3 server that can get in the way of chosen requests: how a store fails at a known moment. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Ceph } from '../../store/testing/ceph.ts';

/**
 * - `hold`: it waits until the gate opens.
 * - `refuse`: it is answered with 503, and never reaches the store.
 * - `cut`: half of its body reaches the store, then the connection breaks on both sides.
 */
export type Treatment = 'hold' | 'refuse' | 'cut';

export interface GateRequest {
  readonly method: string;
  /** With the bucket in front. */
  readonly key: string;
}

export interface Gate extends AsyncDisposable {
  /** A store URL for a bucket of the server behind it. */
  storeUrl(bucket: string): string;
  /** From now on requests that match are treated so. Resolves when the first of them has come. */
  treat(treatment: Treatment, matches: (request: GateRequest) => boolean): Promise<GateRequest>;
  /** Everything passes again, and what was held goes on. */
  open(): void;
}

interface Rule {
  readonly treatment: Treatment;
  readonly matches: (request: GateRequest) => boolean;
  readonly met: PromiseWithResolvers<GateRequest>;
  readonly over: PromiseWithResolvers<void>;
}

export async function startGate(ceph: Ceph): Promise<Gate> {
  let rule: Rule | null = null;
  const behind = new URL(ceph.endpoint);

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = { method: request.method ?? '', key: new URL(request.url ?? '', behind).pathname.slice(1) };
    const treatment = rule?.matches(asked) ? rule.treatment : 'pass';
    const over = rule?.over.promise;
    if (treatment !== 'pass') rule?.met.resolve(asked);
    if (treatment === 'refuse') return refuse(request, response);
    if (treatment === 'hold') await over;
    await forward(behind, request, response, treatment === 'cut');
  }

  const server = createServer((request, response) => {
    // Either side may break off: the other learns it by its own connection's end.
    handle(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The gate has no port.');
  const url = `http://127.0.0.1:${address.port}`;
  const open = () => {
    rule?.over.resolve();
    rule = null;
  };
  return {
    storeUrl: (bucket) => ceph.storeUrl(bucket).replace(encodeURIComponent(ceph.endpoint), encodeURIComponent(url)),
    treat(treatment, matches) {
      open();
      rule = { treatment, matches, met: Promise.withResolvers(), over: Promise.withResolvers() };
      return rule.met.promise;
    },
    open,
    async [Symbol.asyncDispose]() {
      open();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function refuse(request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  response.writeHead(503, { 'content-type': 'application/xml' });
  response.end('<Error><Code>ServiceUnavailable</Code><Message>The gate is shut.</Message></Error>');
}

/** Headers go on as they came: the signature covers them, the host among them. */
async function forward(behind: URL, request: IncomingMessage, response: ServerResponse, cut: boolean): Promise<void> {
  const { hostname, port } = behind;
  const onward = send({ hostname, port, method: request.method, path: request.url, headers: request.rawHeaders });
  const answered = once(onward, 'response') as Promise<[IncomingMessage]>;
  answered.catch(() => undefined); // told by the pipeline, if that fails first
  if (cut) {
    const half = Math.floor(Number(request.headers['content-length'] ?? 0) / 2);
    onward.write((await request.take(1).toArray())[0]?.subarray(0, half) ?? '', () => onward.destroy());
    throw new Error('cut, as told');
  }
  await pipeline(request, onward);
  const [answer] = await answered;
  response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
  await pipeline(answer, response);
}
