import { expect, test } from 'vitest';
import { halvesOf, withoutAddresses } from './ipRanges.ts';

test.each([
  ['172.17.0.2/16', ['172.17.0.0/17', '172.17.128.0/17']],
  ['10.0.0.7/31', ['10.0.0.6/32', '10.0.0.7/32']],
  ['10.0.0.7/32', ['10.0.0.7/32']],
  ['fe80::1/64', ['fe80:0:0:0:0:0:0:0/65', 'fe80:0:0:0:8000:0:0:0/65']],
])('the halves of %s', (range, halves) => {
  expect(halvesOf(range)).toEqual(halves);
});

test.each([
  ['10.0.0.0/24', ['192.168.0.1', 'fd00::1'], ['10.0.0.0/24']],
  ['10.0.0.1', ['10.0.0.1'], []],
  ['10.0.0.0/30', ['10.0.0.1'], ['10.0.0.0/32', '10.0.0.2/31']],
  ['fd00::/126', ['fd00::3'], ['fd00:0:0:0:0:0:0:0/127', 'fd00:0:0:0:0:0:0:2/128']],
  ['::ffff:10.0.0.0/127', [], ['0:0:0:0:0:ffff:a00:0/127']],
])('%s without %j', (range, addresses, rest) => {
  expect(withoutAddresses(range, addresses)).toEqual(rest);
});
