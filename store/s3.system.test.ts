import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { PassThrough, Transform } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { describeStore, expectStoreError, keysOf } from './conformance.ts';
import { openStore } from './open.ts';
import { type Ceph, startCeph } from './testing/ceph.ts';

let ceph: Ceph;
let bucket: string;
const useCredentials = () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', ceph.accessKeyId);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', ceph.secretAccessKey);
};
beforeAll(async () => {
  ceph = await startCeph();
  useCredentials();
  bucket = await ceph.createBucket();
});
afterEach(() => {
  vi.unstubAllEnvs();
  useCredentials();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await ceph?.stop();
});

const openFresh = () => openStore(ceph.storeUrl(bucket, randomUUID()));

describeStore('S3', openFresh);
describeStore(
  'S3 in small pages, at the root of a bucket',
  async () => openStore(ceph.storeUrl(await ceph.createBucket()), { pageSizeKeys: 10 }),
  25,
);

it('keeps stores in one bucket apart', async () => {
  const prefix = randomUUID();
  await using one = await openStore(ceph.storeUrl(bucket, `${prefix}/a`));
  await using other = await openStore(ceph.storeUrl(bucket, `${prefix}/ab`));
  await one.create('key', Buffer.from('x'));
  await other.create('key', Buffer.from('y'));
  expect(await keysOf(one, '')).toEqual(['key']);
  await one.delete(['key']);
  expect(await keysOf(other, '')).toEqual(['key']);
});

it('finds its endpoint in the environment', async () => {
  vi.stubEnv('AWS_ENDPOINT_URL', ceph.endpoint);
  vi.stubEnv('AWS_REGION', '');
  await using store = await openStore(`s3://${bucket}/${randomUUID()}`);
  await store.check();
});

it.each([
  ['AWS_SECRET_ACCESS_KEY', 'wrong'],
  ['AWS_ACCESS_KEY_ID', 'nobody'],
])('is denied with a wrong %s', async (name, value) => {
  vi.stubEnv(name, value);
  await using store = await openFresh();
  const error = await expectStoreError(store.check(), 'denied');
  expect(error.message).not.toContain(ceph.secretAccessKey);
  await expectStoreError(store.get('key'), 'denied');
  await expectStoreError(keysOf(store, ''), 'denied');
});

it('is denied without credentials', async () => {
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  vi.stubEnv('HOME', '/nonexistent');
  await using store = await openFresh();
  await expectStoreError(store.check(), 'denied');
});

it('says that the bucket is missing', async () => {
  await using store = await openStore(ceph.storeUrl('no-such-bucket'));
  for (const work of [() => store.check(), () => store.get('key'), () => keysOf(store, '')]) {
    expect(await expectStoreError(work(), 'notFound')).toMatchObject({ remedy: expect.stringContaining('bucket') });
  }
});

it('is unreachable where nobody listens, and where the name is unknown', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  for (const endpoint of [`http://127.0.0.1:${port}`, 'http://name.invalid']) {
    await using store = await openStore(`s3://${bucket}?endpoint=${endpoint}`);
    await expectStoreError(store.check(), 'unreachable');
  }
});

it('knows its own object when the answer to a creation was lost', async () => {
  await using proxy = await startProxy((count, url) => count === 1 && url.includes('/lost'));
  await using store = await openStore(`s3://${bucket}/${randomUUID()}?endpoint=${proxy.url}`);
  await store.create('lost', Buffer.from('mine'));
  expect(String(await store.get('lost'))).toBe('mine');
});

it("does not take another's object for its own when an answer was lost", async () => {
  const prefix = randomUUID();
  await using direct = await openStore(ceph.storeUrl(bucket, prefix));
  await direct.create('lost', Buffer.from('theirs'));
  await using proxy = await startProxy((count, url) => count === 1 && url.includes('/lost'));
  await using store = await openStore(`s3://${bucket}/${prefix}?endpoint=${proxy.url}`);
  await expectStoreError(store.create('lost', Buffer.from('mine')), 'exists');
  expect(String(await direct.get('lost'))).toBe('theirs');
});

it('sends an object again, whole, when the first attempt ends without an answer', async () => {
  const parts = Array.from({ length: 40 }, () => randomBytes(100_000));
  await using proxy = await startProxy((count, url) => count === 1 && url.includes('/again') && 'unasked');
  await using store = await openStore(`s3://${bucket}/${randomUUID()}?endpoint=${proxy.url}`);
  await store.create('again', parts);
  expect((await store.get('again')).equals(Buffer.concat(parts))).toBe(true);
});

it('says why a large object is refused, not that the connection broke', async () => {
  const large = randomBytes(16 * 2 ** 20);
  await using store = await openFresh();
  await store.create('large', large);
  await expectStoreError(store.create('large', large), 'exists');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'wrong');
  await using wrong = await openFresh();
  await expectStoreError(wrong.create('large', large), 'denied');
});

it('has the server refuse what was changed on the way', async () => {
  await using proxy = await startProxy(() => 'changed');
  await using store = await openStore(`s3://${bucket}/${randomUUID()}?endpoint=${proxy.url}`);
  await expectStoreError(store.create('changed', [Buffer.from('on the '), Buffer.from('way')]), 'damaged');
});

it('has what is sent over TLS compared, too', async () => {
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
  await using proxy = await startProxy(
    (count, url) => (count === 1 && url.includes('/again') ? 'unasked' : url.includes('/changed') && 'changed'),
    await makeCertificate(),
  );
  await using store = await openStore(`s3://${bucket}/${randomUUID()}?endpoint=${proxy.url}`);
  const large = [randomBytes(3 * 2 ** 20), randomBytes(5)];
  await store.create('again', large);
  expect((await store.get('again')).equals(Buffer.concat(large))).toBe(true);
  await expectStoreError(store.create('again', randomBytes(5)), 'exists');
  await expectStoreError(store.create('changed', large), 'damaged');
});

it('reads on when an answer breaks off, and says damaged or unreachable when all of them do', async () => {
  const prefix = randomUUID();
  const content = randomBytes(2 ** 20);
  await using direct = await openStore(ceph.storeUrl(bucket, prefix));
  await direct.create('key', content);
  await using once = await startProxy((count) => count === 1 && 'half');
  await using patient = await openStore(`s3://${bucket}/${prefix}?endpoint=${once.url}`);
  expect((await patient.get('key')).equals(content)).toBe(true);

  await using always = await startProxy(() => 'half');
  await using store = await openStore(`s3://${bucket}/${prefix}?endpoint=${always.url}`);
  await expectStoreError(store.get('key'), 'unreachable');
  const stream = await store.getStream('key');
  await expectStoreError(stream.toArray(), 'unreachable');
});

type Fault = boolean | 'half' | 'unasked' | 'changed';

/**
 * Passes requests on to the server. `fault` says, for the how-manieth request and its URL, whether the answer is lost
 * whole or after half of its body, the server having carried the request out by then; whether the server is not even asked;
 * or whether a bit of what is sent is changed.
 */
async function startProxy(
  fault: (count: number, url: string) => Fault,
  certificate?: SecureContextOptions,
): Promise<AsyncDisposable & { url: string }> {
  let count = 0;
  const pass = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const broken = fault(++count, incoming.url ?? '');
    if (broken === 'unasked') return void incoming.once('data', () => outgoing.destroy());
    const { method, url, headers } = incoming;
    // The signature covers the Host header, so it stays.
    const passed = request(new URL(url ?? '', ceph.endpoint), { method, headers }, async (answer: IncomingMessage) => {
      const body = Buffer.concat(await answer.toArray());
      if (broken === true) return outgoing.destroy();
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      if (broken === 'half') return outgoing.write(body.subarray(0, body.length / 2), () => outgoing.destroy());
      return outgoing.end(body);
    });
    incoming.pipe(broken === 'changed' ? flipOneBit() : new PassThrough()).pipe(passed);
  };
  const server: Server = certificate ? createSecureServer(certificate, pass) : createServer(pass);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function flipOneBit(): Transform {
  let isFirst = true;
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      if (isFirst) piece.writeUInt8(piece.readUInt8(0) ^ 1);
      isFirst = false;
      done(null, piece);
    },
  });
}

/** A self-signed certificate and its key, in one text. */
async function makeCertificate(): Promise<SecureContextOptions> {
  const form = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=floe-test'];
  const { stdout } = await execa('openssl', ['req', ...form, '-keyout', '-', '-out', '-']);
  return { key: stdout, cert: stdout };
}
