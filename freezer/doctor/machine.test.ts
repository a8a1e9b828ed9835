import { expect, test } from 'vitest';
import { judgeCapabilities } from './capabilities.ts';
import { checkEncryption } from './encryption.ts';
import { orFailure } from './finding.ts';
import { parseKernelConfig } from './kernel.ts';

test("a kernel's configuration: built in and modules count, what is not set does not", () => {
  const text = 'CONFIG_UNIX_DIAG=m\nCONFIG_TIME_NS=y\n# CONFIG_MEM_SOFT_DIRTY is not set\nCONFIG_HZ=250\nXCONFIG_A=y\n';
  expect([...parseKernelConfig(text)]).toEqual(['UNIX_DIAG', 'TIME_NS']);
});

test('capabilities that are missing are named', () => {
  expect(judgeCapabilities('000001ffffffffff').map(({ status }) => status)).toEqual(['ok']);
  const findings = judgeCapabilities('000001fffedfffff'); // all but SYS_ADMIN and SYS_RESOURCE
  expect(findings.map(({ status, found }) => `${status} ${found.split(';')[0]}`)).toEqual([
    'ok 14 of 15 that CRIU and the agent need',
    'fail no CAP_SYS_ADMIN',
    'warn no CAP_SYS_RESOURCE',
  ]);
  expect(judgeCapabilities('0').filter(({ status }) => status === 'fail')).toHaveLength(15);
});

test('encryption: no key, a key, and a key beside which checkpoints without one are read; a key is not shown', async () => {
  const key = 'ab'.repeat(32);
  expect(checkEncryption([])).toMatchObject({ status: 'ok', found: expect.stringContaining('not encrypted') });
  expect(checkEncryption([key])).toMatchObject({ status: 'ok', found: expect.not.stringContaining(key) });
  expect(checkEncryption([key, 'kms:alias/floe'])).toMatchObject({
    status: 'ok',
    found: expect.stringContaining('1 more'),
  });
  expect(checkEncryption([key, 'plain']).status).toBe('warn');
  expect(await orFailure('encryption', async () => checkEncryption(['short']))).toMatchObject([{ status: 'fail' }]);
});

test('a check that throws is a finding', async () => {
  const findings = await orFailure('room', () => Promise.reject(new Error('no such device')));
  expect(findings).toMatchObject([{ check: 'room', status: 'fail', found: expect.stringContaining('no such device') }]);
});
