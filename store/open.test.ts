import { expect, it } from 'vitest';
import { expectStoreError } from './conformance.ts';
import { openStore } from './open.ts';

it.each([
  ['', 'neither'],
  ['relative/folder', 'neither'],
  ['/absolute/folder', 'neither'],
  ['http://host/bucket', 'neither'],
  ['file:relative', 'not absolute'],
  ['file://host/folder', 'host'],
  ['file:///folder?x=1', 'no parameters'],
  ['file:///a%2Fb', 'cannot be read'],
  ['s3://', 'bucket'],
  ['s3:///key', 'bucket'],
  ['s3://Bad_Bucket', 'Bad_Bucket'],
  ['s3://bucket?endpoint=host:9000', 'endpoint "host:9000"'],
  ['s3://bucket?region=', 'region'],
  ['s3://bucket?path-style=yes', 'path-style is "yes"'],
  ['s3://bucket?pathstyle=true', '"pathstyle"'],
])('says what is wrong with the URL %j', async (url, what) => {
  expect((await expectStoreError(openStore(url), 'invalid')).message).toContain(what);
});

it('does not repeat credentials that were put in a URL', async () => {
  const error = await expectStoreError(openStore('s3://AKIA:secret@bucket/x'), 'invalid');
  expect(error.message).toContain('AWS_ACCESS_KEY_ID');
  expect(error.message).not.toContain('secret');
});

it('opens what the URL names', async () => {
  await using folder = await openStore('file:///nowhere/at%20all/');
  expect(folder.url).toBe('file:///nowhere/at%20all');
  await using bucket = await openStore('s3://bucket/a/b?region=eu-north-1');
  expect(bucket.url).toBe('s3://bucket/a/b?region=eu-north-1');
});
