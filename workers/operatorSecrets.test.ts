/** What a worker takes for a secret in its operator's folder. */
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readSecret } from './operatorSecrets.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-secrets-'));
  await mkdir(join(directory, 'pool'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const put = (name: string, content: string | Buffer) => writeFile(join(directory, 'pool', name), content);
const read = (name: string) => readSecret(directory, 'pool', name);
const waits = (message: RegExp) => ({ code: 'notHere', message: expect.stringMatching(message) });

test('every byte of the file, as it is now', async () => {
  for (const bytes of [Buffer.from([0, 255, 10]), Buffer.from('later\n')]) {
    await put('token', bytes);
    expect(await read('token')).toEqual({ kind: 'value', bytes });
  }
});

test('links of the kind that Kubernetes makes, and changes all at once', async () => {
  const day = async (name: string) => {
    await mkdir(join(directory, 'pool', name));
    await writeFile(join(directory, 'pool', name, 'token'), name);
    await symlink(name, join(directory, 'pool/..new'));
    await rename(join(directory, 'pool/..new'), join(directory, 'pool/..data'));
  };
  await day('..1');
  await symlink('..data/token', join(directory, 'pool/token'));
  expect(await read('token')).toMatchObject({ bytes: Buffer.from('..1') });
  await day('..2');
  expect(await read('token')).toMatchObject({ bytes: Buffer.from('..2') });
});

test('not what a link leads to outside of the folder, absolute or not, or in the folder of another pool', async () => {
  await mkdir(join(directory, 'pool-of-others'));
  await writeFile(join(directory, 'pool-of-others/token'), 'x');
  await writeFile(join(directory, 'worker.key'), 'x');
  for (const [name, to] of [
    ['shadow', '/etc/shadow'],
    ['key', '../worker.key'],
    ['others', '../pool-of-others/token'],
  ] as const) {
    await symlink(to, join(directory, 'pool', name));
    await expect(read(name)).rejects.toMatchObject(waits(new RegExp(`secret ${name}.*leads out of the folder`)));
  }
});

test('no folder, no FIFO, and nothing of more than 1 MiB', async () => {
  await mkdir(join(directory, 'pool/folder'));
  await execa('mkfifo', [join(directory, 'pool/fifo')]);
  await put('large', Buffer.alloc(2 ** 20 + 1));
  await put('largest', Buffer.alloc(2 ** 20));
  await expect(read('folder')).rejects.toMatchObject(waits(/folder.*it is no file/));
  await expect(read('fifo')).rejects.toMatchObject(waits(/fifo.*it is no file/));
  await expect(read('large')).rejects.toMatchObject(waits(/large.*more than 1048576 bytes/));
  expect(await read('largest')).toMatchObject({ kind: 'value' });
});

test('what is not there is told by its name, with what to do', async () => {
  const missing = { ...waits(/secret token.*pool pool/), remedy: expect.stringContaining('pool/token') };
  await expect(read('token')).rejects.toMatchObject(missing);
  await expect(readSecret(directory, 'elsewhere', 'token')).rejects.toMatchObject(waits(/token.*pool elsewhere/));
  await expect(readSecret(null, 'pool', 'token')).rejects.toMatchObject(waits(/token.*has no secrets/));
});

test('a role, in YAML or JSON, with what it may do narrowed', async () => {
  const roleArn = 'arn:aws:iam::123456789012:role/floe/dataset';
  await put('dataset.role', `roleArn: ${roleArn}\npolicy: { Version: "2012-10-17", Statement: [] }\n`);
  const policy = '{"Version":"2012-10-17","Statement":[]}';
  expect(await read('dataset')).toEqual({ kind: 'role', role: { roleArn, durationSeconds: 3600, policy } });
  await put('dataset.role', JSON.stringify({ roleArn, durationSeconds: 900 }));
  expect(await read('dataset')).toEqual({ kind: 'role', role: { roleArn, durationSeconds: 900 } });
});

test.each([
  ['roleArn: arn:aws:s3:::bucket', /roleArn: must be a role's ARN/],
  ['{"roleArn": ', /no YAML/],
  ['', /dataset\.role/],
])('a role that is none is told: %j', async (content, message) => {
  await put('dataset.role', content);
  await expect(read('dataset')).rejects.toMatchObject(waits(message));
});
