import { expect, test } from 'vitest';
import { homeOf } from './home.ts';

test.each([
  ['s3://bucket', 's3://bucket'],
  ['s3://bucket/', 's3://bucket'],
  ['s3://bucket/a/b//', 's3://bucket/a/b'],
  ['s3://bucket/a?endpoint=http://localhost:1&region=x', 's3://bucket/a'],
  ['s3://bucket?endpoint=http://10.0.0.1', 's3://bucket'],
  ['file:///var/lib/store', 'file:///var/lib/store'],
])('%s is one home, whatever the way to it: %s', (url, home) => {
  expect(homeOf(url)).toBe(home);
  expect(homeOf(url, 'name')).toBe(`${home} name`);
});
