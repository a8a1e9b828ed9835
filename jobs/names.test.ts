import { expect, it } from 'vitest';
import { newJobId, padEpoch, poolOfJobId, storeKeys } from './names.ts';

it('gives ids that tell their pool, hyphens included', () => {
  for (const pool of ['default', 'gpu-a100-80g', 'a']) expect(poolOfJobId(newJobId(pool))).toBe(pool);
  expect(newJobId('a')).not.toBe(newJobId('a'));
});

it.each(['', 'x', '-aaaaaaaaaa', 'default-short', 'Default-aaaaaaaaaa', 'default/../x-aaaaaaaaaa'])(
  'says that there can be no job %j',
  (id) => {
    expect(() => poolOfJobId(id)).toThrow(expect.objectContaining({ code: 'notFound' }));
  },
);

it('pads epochs so that the order of keys is the order of runs', () => {
  const keys = [1, 9, 10, 123_456].map((epoch) => storeKeys.fence('a-b', epoch));
  expect(keys.toSorted()).toEqual(keys);
  expect(padEpoch(1)).toBe('00000001');
});
