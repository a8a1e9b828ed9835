import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const SCRIPT = `
import { EventEmitter } from 'node:events';
import { pino } from 'pino';
import { passOverUncaught } from ${JSON.stringify(join(import.meta.dirname, 'lastLine.ts'))};
import { exitOnUncaught } from ${JSON.stringify(join(import.meta.dirname, '../base/uncaught.ts'))};
// As the command does that starts a worker.
exitOnUncaught('floe', 120);
using line = passOverUncaught(pino());
setTimeout(() => { throw new Error('in a timer'); }, 1);
setTimeout(() => new EventEmitter().emit('error', new Error('of an emitter')), 2);
setTimeout(() => void Promise.reject(new Error('of a promise')), 3);
await new Promise((resolve) => setTimeout(resolve, 100));
console.log('the others ran on');
`;

test('an error that nobody caught is told and counted, and does not end the process', async () => {
  const options = { input: SCRIPT, cwd: import.meta.dirname, reject: false } as const;
  const { stdout, exitCode } = await execa(process.execPath, ['--input-type=module', '-'], options);
  const lines = stdout.split('\n');
  expect(lines.pop()).toBe('the others ran on');
  expect(exitCode).toBe(0);
  const told = lines.map((line) => JSON.parse(line));
  expect(told.map(({ count, err }) => [count, err.message])).toEqual([
    [1, 'in a timer'],
    [2, 'of an emitter'],
    [3, 'of a promise'],
  ]);
});
