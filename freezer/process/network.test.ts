import { expect, test } from 'vitest';
import { hostsWith, reachable } from './network.ts';

const FORBIDDEN = ['127.0.0.0/8', '169.254.0.0/16', '192.0.2.2', '172.17.0.1/16', 'fe80::1'];

test('jobs ask the name servers of the machine that are not on it', () => {
  const text =
    '# made by hand\nnameserver 127.0.0.53\nnameserver 198.51.100.1\nnameserver  203.0.113.1\nsearch example\n';
  expect(reachable([text], FORBIDDEN)).toEqual(['198.51.100.1', '203.0.113.1']);
});

test.each([
  ['the machine’s loopback', '127.0.0.53'],
  ['the machine itself', '192.0.2.2'],
  ['a container’s network', '172.17.0.9'],
  ['the metadata endpoint, which resolves names on some clouds', '169.254.169.254'],
  ['another protocol than slirp speaks', '2001:db8::1'],
])('none that is on %s: that would open all its ports', (_, address) => {
  expect(reachable([`nameserver ${address}\n`], FORBIDDEN)).toEqual([]);
});

test('a resolver of the machine’s own is passed over for those that it asks itself', () => {
  expect(reachable(['nameserver 127.0.0.53\n', 'nameserver 198.51.100.7\n'], FORBIDDEN)).toEqual(['198.51.100.7']);
});

test.each([
  [
    'its aliases, too',
    '127.0.0.1 localhost\n10.0.0.5 w1.example w1 # here\n',
    '127.0.0.1 localhost\n127.0.1.1 w1.example w1\n',
  ],
  ['where the machine has no name for itself', '127.0.0.1 localhost\n', '127.0.0.1 localhost\n127.0.1.1 w1\n'],
  ['as it is, where it does already', '127.0.0.1 w1\n::1 w1\n', '127.0.0.1 w1\n::1 w1\n'],
])('the machine’s name leads a job to itself: %s', (_, hosts, own) => {
  expect(hostsWith('w1', hosts).trim()).toBe(own.trim());
});
