/** The policy and the lifecycle rules of docs/deploy, on a real S3 server that enforces them. */
import { Readable } from 'node:stream';
import { PutBucketLifecycleConfigurationCommand, PutBucketPolicyCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { openStore } from '../../store/index.ts';
import type { Store } from '../../store/store.ts';
import { type Ceph, startCeph } from '../../store/testing/ceph.ts';
import { readDeployFile } from './files.ts';

const Statement = z.object({ Action: z.union([z.string().transform((each) => [each]), z.array(z.string())]) });
const Policy = z.object({ Statement: z.tuple([Statement, Statement]) });
const [objects, listing] = Policy.parse(JSON.parse(readDeployFile('s3-policy.json'))).Statement;

/** What else S3 has for objects and lists of them: Ceph does not understand `NotAction`. */
const OTHERS = [
  ...['s3:GetObjectVersion', 's3:GetObjectAcl', 's3:GetObjectTagging', 's3:PutObjectAcl', 's3:PutObjectTagging'],
  ...[
    's3:DeleteObjectVersion',
    's3:ListBucketVersions',
    's3:ListBucketMultipartUploads',
    's3:ListMultipartUploadParts',
  ],
  ...['s3:GetBucketLocation', 's3:GetBucketVersioning', 's3:ListAllMyBuckets', 's3:CreateBucket', 's3:DeleteBucket'],
];

/** And one for tidiness, which a use without failures does not call: an upload that fails is aborted. */
const NEEDED = ['s3:PutObject', 's3:GetObject', 's3:DeleteObject', 's3:ListBucket'];

let ceph: Ceph;
let client: S3Client;
beforeAll(async () => {
  ceph = await startCeph();
  for (const [name, value] of Object.entries(ceph.environment)) vi.stubEnv(name, value);
  client = new S3Client({ endpoint: ceph.endpoint, region: 'us-east-1', forcePathStyle: true });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  client?.destroy();
  await ceph?.stop();
});

/**
 * A bucket whose owner may do what the policy allows, less one action. The server's one user owns everything, so what
 * the policy does not allow is denied to it by name.
 */
async function bucketWithPolicy(less?: string): Promise<string> {
  const bucket = await ceph.createBucket();
  const [all, inside] = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/floe/*`];
  const deny = { Effect: 'Deny', Principal: '*' };
  const Statement = [
    { ...deny, Action: [...OTHERS, ...(less ? [less] : [])], Resource: [all, `${all}/*`] },
    // Ceph asks for the right to delete several objects at the bucket as well; AWS asks at each object alone.
    { ...deny, Action: objects.Action, NotResource: [all, inside] },
    { ...deny, Action: listing.Action, Resource: all, Condition: { StringNotLike: { 's3:prefix': 'floe/*' } } },
  ];
  const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
  await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy }));
  return bucket;
}

/** Everything that Floe does with a store: small and large objects, reads of what is there and what is not, lists, deletions. */
async function useAll(store: Store): Promise<void> {
  await store.check();
  await store.create('jobs/a/fence/1', Buffer.from('one'));
  await expect(store.create('jobs/a/fence/1', Buffer.from('two'))).rejects.toMatchObject({ code: 'exists' });
  await store.putStream('jobs/a/large', Readable.from([Buffer.alloc(33 * 2 ** 20, 1)]));
  await expect(store.get('jobs/a/none')).rejects.toMatchObject({ code: 'notFound' });
  expect(await store.get('jobs/a/large', { range: { offsetBytes: 7, lengthBytes: 0 } })).toHaveLength(0);
  const keys = (await Array.fromAsync(store.list('jobs/a/'))).map(({ key }) => key);
  expect(keys).toEqual(['jobs/a/fence/1', 'jobs/a/large']);
  await store.delete(keys);
}

test('the policy is enough for all that Floe does, below its prefix alone', async () => {
  const bucket = await bucketWithPolicy();
  await using store = await openStore(ceph.storeUrl(bucket, 'floe'));
  await useAll(store);
  await using elsewhere = await openStore(ceph.storeUrl(bucket, 'other'));
  await expect(elsewhere.create('a', Buffer.from(''))).rejects.toMatchObject({ code: 'denied' });
  await expect(Array.fromAsync(elsewhere.list(''))).rejects.toMatchObject({ code: 'denied' });
});

test.each(NEEDED)('without %s it is not', async (action) => {
  await using store = await openStore(ceph.storeUrl(await bucketWithPolicy(action), 'floe'));
  await expect(useAll(store)).rejects.toMatchObject({ code: 'denied' });
});

test('the policy has no action besides', () => {
  expect([...objects.Action, ...listing.Action].sort()).toEqual([...NEEDED, 's3:AbortMultipartUpload'].sort());
});

test('the lifecycle rules are accepted', async () => {
  const { Rules } = z
    .object({
      Rules: z.array(z.looseObject({ Status: z.literal('Enabled'), Filter: z.object({ Prefix: z.string() }) })),
    })
    .parse(JSON.parse(readDeployFile('s3-lifecycle.json')));
  const configuration = { Bucket: await ceph.createBucket(), LifecycleConfiguration: { Rules } };
  const { $metadata } = await client.send(new PutBucketLifecycleConfigurationCommand(configuration));
  expect($metadata.httpStatusCode).toBe(200);
});
