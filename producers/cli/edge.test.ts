import { CommanderError } from 'commander';
import { expect, it } from 'vitest';
import { FloeError } from '../../jobs/errors.ts';
import { StoreError } from '../../store/store.ts';
import { asFloeError } from '../failures.ts';
import { describeFailure, Interrupted } from './edge.ts';
import { EXIT, EXIT_CODES_HELP } from './exitCodes.ts';

it.each([
  [new FloeError('invalidJob', 'Bad.', 'Fix it.'), { code: 'invalidJob', exitCode: 121, remedy: 'Fix it.' }],
  [new FloeError('redisRefused', 'No.', ''), { exitCode: 124 }],
  [
    new CommanderError(1, 'commander.unknownOption', "error: unknown option '--x'"),
    { message: "Unknown option '--x'.", exitCode: 121 },
  ],
  [new Interrupted('stopped.'), { code: 'interrupted', exitCode: 130 }],
  [
    Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' }),
    { code: 'ENOSPC', exitCode: 120 },
  ],
  [new TypeError('x is undefined'), { code: 'internal', exitCode: 120 }],
  ['a string', { code: 'internal', exitCode: 120 }],
])('%s', (error, failure) => {
  expect(describeFailure(error)).toMatchObject(failure);
});

it('keeps the remedy of a store that says no', () => {
  const error = asFloeError(new StoreError('denied', 'Access denied', 'Check the key.'), { redisUrl: null });
  const failure = { code: 'storeFailed', exitCode: 125, remedy: 'Check the key.' };
  expect(describeFailure(error)).toMatchObject(failure);
  expect(describeFailure(new StoreError('denied', 'Access denied', 'Check the key.'))).toMatchObject(failure);
});

it('documents every exit code', () => {
  for (const code of Object.values(EXIT)) expect(EXIT_CODES_HELP).toMatch(new RegExp(`^  ${code} `, 'm'));
});
