/**
 * Credentials that are renewed while a job runs, against an HTTP endpoint that stands in for STS: it speaks the query protocol of
 * `AssumeRole` with answers and errors in XML, gives credentials that are soon over, and does not check signatures. What a real STS does:
 * awsRole.system.test.ts.
 */
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { parseJobSpec } from '../jobs/index.ts';
import { JobSecrets } from './jobSecrets.ts';

const ROLE = 'arn:aws:iam::123456789012:role/dataset';
const LIFE_MS = 4000;

let server: Server;
let asked: URLSearchParams[];
let directory: string;
let given: string;

beforeEach(async () => {
  asked = [];
  server = createServer(async (request, response) => {
    asked.push(new URLSearchParams(await text(request)));
    response.writeHead(200, { 'content-type': 'text/xml' }).end(answer(asked.length));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  vi.stubEnv('AWS_ENDPOINT_URL_STS', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
  vi.stubEnv('AWS_REGION', 'eu-west-1');
  directory = await mkdtemp(join(tmpdir(), 'floe-secrets-'));
  given = join(directory, 'given');
  for (const folder of ['given', 'default']) await mkdir(join(directory, folder));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true, force: true });
});

function answer(number: number): string {
  const expiration = new Date(Date.now() + LIFE_MS).toISOString();
  return `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
    <AccessKeyId>id-${number}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>
    <Expiration>${expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`;
}

const put = (name: string, content: string | Buffer) => writeFile(join(directory, 'default', name), content);

function open(input: object) {
  const spec = parseJobSpec({ command: ['x'], ...input });
  const { signal } = new AbortController();
  return JobSecrets.open({
    directory,
    pool: 'default',
    jobId: 'default-k3v9x2m4qa',
    spec,
    logger: pino({ level: 'silent' }),
    signal,
  });
}

test('credentials are renewed at half of their life, until the run is over, and CloudTrail can tell the job', async () => {
  await put('dataset.role', `roleArn: ${ROLE}\nexternalId: floe\npolicy: {Version: "2012-10-17"}\n`);
  const secrets = await open({ secrets: ['dataset'] });
  await secrets?.prepare(given);
  const key = async () => JSON.parse(await readFile(join(given, 'dataset'), 'utf8')).AccessKeyId;
  expect(await key()).toBe('id-1');
  const renewing = secrets?.keepFresh();
  await expect.poll(key).toBe('id-2');
  await expect.poll(key).toBe('id-3');
  renewing?.[Symbol.dispose]();
  expect(Object.fromEntries(asked[0] ?? [])).toMatchObject({
    Action: 'AssumeRole',
    RoleArn: ROLE,
    RoleSessionName: 'floe-default-k3v9x2m4qa',
    DurationSeconds: '3600',
    ExternalId: 'floe',
    Policy: '{"Version":"2012-10-17"}',
  });
  expect((await readdir(given)).sort()).toEqual(['.aws-config', 'dataset']);
});

test('what an SDK is told: a profile for each role, and the default one where there is one role', async () => {
  for (const name of ['dataset', 'results']) await put(`${name}.role`, `roleArn: ${ROLE}\n`);
  const configOf = async (names: string[], more: object = {}) => {
    const secrets = await open({ secrets: names, ...more });
    await secrets?.prepare(given);
    return { env: secrets?.env, config: await readFile(join(given, '.aws-config'), 'utf8') };
  };
  const section = (heading: string, name: string) => `[${heading}]\ncredential_process = cat /run/secrets/${name}\n`;
  expect(await configOf(['dataset'])).toEqual({
    env: { AWS_CONFIG_FILE: '/run/secrets/.aws-config' },
    config: section('default', 'dataset') + section('profile dataset', 'dataset'),
  });
  expect(await configOf(['dataset', 'results'], { env: { AWS_CONFIG_FILE: '/own' } })).toEqual({
    env: {},
    config: section('profile dataset', 'dataset') + section('profile results', 'results'),
  });
});

test('a role in a variable is refused: it would expire', async () => {
  await put('dataset.role', `roleArn: ${ROLE}\n`);
  const refused = open({ secrets: [{ name: 'dataset', env: 'CREDENTIALS' }] });
  await expect(refused).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('dataset') });
});

test('files are for everybody in the container to read, whatever the umask of the worker', async () => {
  await put('token', 'x');
  const before = process.umask(0o077);
  try {
    await (await open({ secrets: ['token'] }))?.prepare(given);
  } finally {
    process.umask(before);
  }
  expect((await stat(join(given, 'token'))).mode & 0o777).toBe(0o444);
});

test('a variable has the text without the line break at its end, as a shell would give it', async () => {
  await put('password', 'two\nlines\n');
  expect((await open({ secrets: [{ name: 'password', env: 'PASSWORD' }] }))?.env).toEqual({ PASSWORD: 'two\nlines' });
});

test.each([
  ['bytes that are no text', Buffer.from([0xff, 0xfe]), /not UTF-8/],
  ['a zero byte', Buffer.from('a\0b'), /zero byte/],
  ['more than the kernel takes', Buffer.alloc(100_000, 'x'), /more than 65536 bytes/],
])('what cannot be a variable is told, and not shown: %s', async (_, content, message) => {
  await put('password', content);
  const refused = open({ secrets: [{ name: 'password', env: 'PASSWORD' }] });
  await expect(refused).rejects.toMatchObject({ code: 'notHere', message: expect.stringMatching(message) });
});

test('all variables together have a bound, as the kernel has one', async () => {
  await put('large', Buffer.alloc(60_000, 'x'));
  const secrets = (count: number) => Array.from({ length: count }, (_, at) => ({ name: 'large', env: `V${at}` }));
  expect(Object.keys((await open({ secrets: secrets(4) }))?.env ?? {})).toHaveLength(4);
  await expect(open({ secrets: secrets(5) })).rejects.toMatchObject({ code: 'notHere' });
});

test('a job that wants none has none', async () => {
  expect(await open({})).toBeNull();
});
