import { expect, test } from 'vitest';
import { readOptions } from './options.ts';

test('without flags everything is measured, and kept in the documentation', () => {
  expect(readOptions([])).toEqual({
    sizesBytes: [2 ** 28, 2 ** 30, 2 ** 32],
    contents: ['compressible', 'incompressible'],
    stores: ['s3', 'file'],
    pairs: 5,
    parts: ['full', 'increment', 'thaw'],
    out: expect.stringMatching(/\/docs\/benchmarks\.json$/),
  });
});

test('a quick look leaves the documentation alone', () => {
  const quick = { sizesBytes: [2 ** 28], contents: ['compressible'], stores: ['s3'], pairs: 1, out: null };
  expect(readOptions(['--quick'])).toMatchObject(quick);
  expect(readOptions(['--quick', '--sizes', '1', '--out', 'x.json'])).toMatchObject({
    sizesBytes: [2 ** 30],
    out: 'x.json',
  });
});

test.each([
  [['--sizes', '0'], '--sizes'],
  [['--sizes', '1,x'], '"x"'],
  [['--pairs', '1.5'], '"1.5"'],
  [['--stores', 's3,ftp'], '"ftp"'],
  [['--only', 'thaws'], '--only'],
])('%j is refused by name', (args, word) => {
  expect(() => readOptions(args)).toThrow(word);
});
