import { MetadataService } from '@aws-sdk/ec2-metadata-service';
import { expect, test } from 'vitest';
import { startMetadata } from './metadata.ts';

const TTL = 'x-aws-ec2-metadata-token-ttl-seconds';
const PUT = { method: 'PUT', headers: { [TTL]: '60' } };

const client = (endpoint: string) => new MetadataService({ endpoint, ec2MetadataV1Disabled: true, retries: 0 });

test('the SDK reads the instance and sees a notice only once there is one', async () => {
  await using metadata = await startMetadata({ instanceId: 'i-0123456789abcdef0' });
  const sdk = client(metadata.url);
  expect(await sdk.request('latest/meta-data/instance-id', {})).toBe('i-0123456789abcdef0');
  expect(await sdk.request('/latest/meta-data/placement/region', {})).toMatch(/^[a-z]+-[a-z]+-\d$/);
  const notice = () => sdk.request('latest/meta-data/spot/instance-action', {});
  const hint = () => sdk.request('latest/meta-data/events/recommendations/rebalance', {});
  await expect(notice()).rejects.toMatchObject({ $metadata: { httpStatusCode: 404 } });
  await expect(hint()).rejects.toMatchObject({ $metadata: { httpStatusCode: 404 } });

  metadata.rebalance();
  expect(JSON.parse(await hint())).toEqual({ noticeTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) });
  await expect(notice()).rejects.toThrow();

  const time = metadata.interrupt(120_000);
  expect(JSON.parse(await notice())).toEqual({
    action: 'terminate',
    time: time.toISOString().replace('.000Z', 'Z'),
  });
});

test('nothing is answered without a valid token', async () => {
  await using metadata = await startMetadata();
  const url = `${metadata.url}/latest/meta-data/instance-id`;
  const get = async (token?: string) =>
    (await fetch(url, { headers: token ? { 'x-aws-ec2-metadata-token': token } : {} })).status;
  expect(await get()).toBe(401);
  expect(await get('made-up')).toBe(401);
  const token = await (await fetch(`${metadata.url}/latest/api/token`, PUT)).text();
  expect(await get(token)).toBe(200);
  expect(metadata.requests().map(({ method, status }) => `${method} ${status}`)).toEqual([
    'GET 401',
    'GET 401',
    'PUT 200',
    'GET 200',
  ]);
});

test.for([
  [400, { method: 'PUT' }],
  [400, { method: 'PUT', headers: { [TTL]: '0' } }],
  [400, { method: 'PUT', headers: { [TTL]: '21601' } }],
  [403, { method: 'PUT', headers: { [TTL]: '60', 'x-forwarded-for': '192.0.2.1' } }],
  [405, { method: 'GET' }],
] as const)('a token is refused with %d', async ([status, request]) => {
  await using metadata = await startMetadata();
  const response = await fetch(`${metadata.url}/latest/api/token`, request);
  expect(response.status).toBe(status);
  expect(await response.text()).toBe('');
});
