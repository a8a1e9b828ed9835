/**
 * KMS keys, against an HTTP endpoint that stands in for the cloud's: it speaks the JSON protocol of KMS (`X-Amz-Target`,
 * `application/x-amz-json-1.1`, `__type` of errors), with keys and an alias as here. It does not check signatures.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { FreezerErrorCode } from '../errors.ts';
import { keysToWrite } from './dataKey.ts';
import { KeyRing } from './keyRing.ts';

const ARN = 'arn:aws:kms:eu-west-1:111122223333:key/';
const because = (code: FreezerErrorCode) => expect.objectContaining({ name: 'FreezerError', code });
const refuse = (type: string) => ({ status: 400, body: { __type: type, message: `It is ${type}.` } });
const DATA_KEY = Buffer.alloc(32, 9);

let server: Server;
/** What the alias names. */
let aliased: string;
let refusal: string | null;

beforeEach(async () => {
  [aliased, refusal] = ['key-1', null];
  server = createServer(async (request, response) => {
    const { status, body } = answer(String(request.headers['x-amz-target']), JSON.parse(await text(request)));
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  vi.stubEnv('AWS_ENDPOINT_URL_KMS', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
  vi.stubEnv('AWS_REGION', 'eu-west-1');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  server.close();
});

/** A data key is wrapped as JSON of the key's id, the plain key and the context. */
function answer(target: string, question: Record<string, unknown>): { status: number; body: object } {
  if (refusal) return refuse(refusal);
  const id = question.KeyId === 'alias/floe' ? aliased : String(question.KeyId).replace(ARN, '');
  if (!/^key-[12]$/.test(id)) return refuse('NotFoundException');
  const context = JSON.stringify(question.EncryptionContext);
  if (target === 'TrentService.GenerateDataKey') {
    const blob = Buffer.from(JSON.stringify({ id, key: DATA_KEY.toString('base64'), context }));
    const Plaintext = DATA_KEY.toString('base64');
    return { status: 200, body: { KeyId: ARN + id, Plaintext, CiphertextBlob: blob.toString('base64') } };
  }
  try {
    const wrapped = JSON.parse(Buffer.from(String(question.CiphertextBlob), 'base64').toString());
    if (wrapped.context !== context) return refuse('InvalidCiphertextException');
    if (wrapped.id !== id) return refuse('IncorrectKeyException');
    return { status: 200, body: { KeyId: ARN + id, Plaintext: wrapped.key } };
  } catch {
    return refuse('InvalidCiphertextException');
  }
}

async function wrapBy(key: string) {
  const { wrapped } = await keysToWrite(null, KeyRing.of([key]));
  if (!wrapped) throw new Error('Nothing is encrypted.');
  return wrapped;
}

test.each(['kms:key-1', `kms:${ARN}key-1`, 'kms:alias/floe'])('%s wraps and unwraps', async (key) => {
  const wrapped = await wrapBy(key);
  expect(wrapped.keyId).toBe(`kms:${ARN}key-1`);
  expect(Buffer.from(await KeyRing.of([key]).unwrap(wrapped))).toEqual(DATA_KEY);
  expect(await keysToWrite(wrapped, KeyRing.of([key]))).toMatchObject({ goesOn: true });
});

test('an alias that names another key now is a rotation: the old key reads, the new one writes', async () => {
  const wrapped = await wrapBy('kms:alias/floe');
  aliased = 'key-2';
  await expect(KeyRing.of(['kms:alias/floe']).unwrap(wrapped)).rejects.toThrow(because('wrongKey'));
  const ring = KeyRing.of(['kms:alias/floe', 'kms:key-1']);
  expect(Buffer.from(await ring.unwrap(wrapped))).toEqual(DATA_KEY);
  expect(await keysToWrite(wrapped, ring)).toMatchObject({ goesOn: false, wrapped: { keyId: `kms:${ARN}key-2` } });
});

test('another key, a local one, or one that is not there does not read', async () => {
  const wrapped = await wrapBy('kms:key-1');
  for (const key of ['kms:key-2', 'kms:key-3', 'ab'.repeat(32)]) {
    await expect(KeyRing.of([key]).unwrap(wrapped)).rejects.toThrow(because('wrongKey'));
  }
});

test('a wrapped key that was tampered with is corrupt', async () => {
  const wrapped = { ...(await wrapBy('kms:key-1')), wrappedKey: Buffer.from('tampered').toString('base64') };
  await expect(KeyRing.of(['kms:key-1']).unwrap(wrapped)).rejects.toThrow(because('corrupt'));
});

test.each(['AccessDeniedException', 'DisabledException', 'KMSInvalidStateException'])(
  '%s: the key cannot be used, and nothing is written without it',
  async (type) => {
    const wrapped = await wrapBy('kms:key-1');
    refusal = type;
    await expect(KeyRing.of(['kms:key-1']).unwrap(wrapped)).rejects.toThrow(because('wrongKey'));
    await expect(keysToWrite(wrapped, KeyRing.of(['kms:key-1']))).rejects.toThrow(because('wrongKey'));
    await expect(keysToWrite(null, KeyRing.of(['kms:key-1']))).rejects.toThrow(because('wrongKey'));
  },
);

test('no answer is told as such', async () => {
  server.close();
  await once(server, 'close');
  await expect(wrapBy('kms:key-1')).rejects.toThrow(because('failed'));
});
