/** A job with credentials of a role, against a real STS and a real bucket: Ceph's. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type Ceph, startCeph } from '../store/testing/ceph.ts';
import { Stack } from './testing/stack.ts';

const DRAIN = { kind: 'notice', source: 'test', deadlineAt: null } as const;
const Given = z.strictObject({
  Version: z.literal(1),
  AccessKeyId: z.string(),
  SecretAccessKey: z.string(),
  SessionToken: z.string(),
  Expiration: z.iso.datetime(),
});

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph({ hasSts: true });
});
afterAll(() => ceph.stop());

let stack: Stack;
let secretsDirectory: string;
beforeEach(async () => {
  for (const [name, value] of Object.entries(ceph.environment)) vi.stubEnv(name, value);
  vi.stubEnv('AWS_ENDPOINT_URL_STS', ceph.endpoint);
  stack = await Stack.open();
  secretsDirectory = join(stack.directory, 'secrets');
  await mkdir(join(secretsDirectory, 'default'), { recursive: true });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await stack[Symbol.asyncDispose]();
});

const putRole = (roleArn: string) =>
  writeFile(join(secretsDirectory, 'default/dataset.role'), `roleArn: ${roleArn}\ndurationSeconds: 900\n`);

function client(credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }): S3Client {
  return new S3Client({
    endpoint: ceph.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials,
  });
}

test('it has what the role may do and nothing else, and new ones at a thaw', async () => {
  const [ours, others] = [await ceph.createBucket(), await ceph.createBucket()];
  using owner = disposing(client(ceph));
  for (const Bucket of [ours, others])
    await owner.send(new PutObjectCommand({ Bucket, Key: 'object', Body: 'content' }));
  await putRole(await ceph.createReaderRole(ours));
  const one = await stack.worker('one', { secretsDirectory });
  // As an SDK in the job does it: by what the configuration says.
  const command = "sed -n 's/^credential_process = //p' $AWS_CONFIG_FILE | head -n 1";
  const script = `while :; do eval "$(${command})"; while [ ! -e go ]; do sleep 0.02; done; rm go; done`;
  const id = await stack.submit({ command: ['sh', '-c', script], secrets: ['dataset'] });
  const lines = async () => (await stack.log(id)).split('\n').filter(Boolean);
  await expect.poll(lines, { timeout: 60_000 }).toHaveLength(1);
  one.notify(DRAIN);
  await one.ended;
  await stack.worker('two', { secretsDirectory });
  await stack.until(id, { state: 'running' });
  await stack.letGo('two');
  await expect.poll(lines, { timeout: 60_000 }).toHaveLength(2);

  const [first, second] = (await lines()).map((line) => Given.parse(JSON.parse(line)));
  expect(second?.SessionToken).not.toBe(first?.SessionToken);
  for (const given of [first, second]) {
    using role = disposing(
      client({
        accessKeyId: given?.AccessKeyId ?? '',
        secretAccessKey: given?.SecretAccessKey ?? '',
        sessionToken: given?.SessionToken ?? '',
      }),
    );
    const { Body } = await role.send(new GetObjectCommand({ Bucket: ours, Key: 'object' }));
    expect(await Body?.transformToString()).toBe('content');
    const denied = { name: 'AccessDenied' };
    await expect(role.send(new GetObjectCommand({ Bucket: others, Key: 'object' }))).rejects.toMatchObject(denied);
    await expect(role.send(new PutObjectCommand({ Bucket: ours, Key: 'object', Body: 'x' }))).rejects.toMatchObject(
      denied,
    );
  }
});

test('it waits for a role that the worker may not assume, and is told which', async () => {
  await putRole('arn:aws:iam:::role/nobody-has-it');
  await stack.worker('one', { secretsDirectory });
  const id = await stack.submit({ command: ['true'], secrets: ['dataset'] });
  const problem = expect.stringContaining('cannot assume arn:aws:iam:::role/nobody-has-it');
  await stack.until(id, { state: 'queued', problem });
});

function disposing(client: S3Client): S3Client & Disposable {
  return Object.assign(client, { [Symbol.dispose]: () => client.destroy() });
}
