import { describe, expect, it } from 'vitest';
import { choiceFlag, collectPairs, collectSecrets, durationFlag, integerFlag, numberFlag } from './flags.ts';

describe('durations', () => {
  it.each([
    ['0', 0],
    ['250ms', 250],
    ['90s', 90_000],
    ['1.5h', 5_400_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
  ])('%s is %i ms', (text, durationMs) => {
    expect(durationFlag('--timeout')(text)).toBe(durationMs);
  });

  it.each(['', '90', 'soon', '-5s', '5 s', '1h30', 'm', '1e3s'])('%j is none', (text) => {
    const refused = { code: 'invalidOption', message: expect.stringContaining(`--timeout: must be a duration`) };
    expect(() => durationFlag('--timeout')(text)).toThrow(expect.objectContaining(refused));
  });
});

it.each(['', 'x', '1.5', '1e3', ' 1', '9'.repeat(20)])('%j is no integer', (text) => {
  expect(() => integerFlag('--priority')(text)).toThrow(`--priority: must be an integer, got ${JSON.stringify(text)}.`);
});

it.each(['', 'x', 'Infinity', 'NaN'])('%j is no number', (text) => {
  expect(() => numberFlag('--cpus')(text)).toThrow('--cpus: must be a number');
});

it('collects variables; only the first = separates', () => {
  const collect = collectPairs('--env');
  expect(collect('B=', collect('A=b=c'))).toEqual({ A: 'b=c', B: '' });
  for (const text of ['A', '=x', '']) expect(() => collect(text)).toThrow('--env: must be NAME=VALUE');
});

it('collects secrets, each as a file or a variable; what they may be called the schema says', () => {
  expect(collectSecrets('db:PASSWORD', collectSecrets('token'))).toEqual([
    { name: 'token' },
    { name: 'db', env: 'PASSWORD' },
  ]);
  expect(collectSecrets('token:')).toEqual([{ name: 'token', env: '' }]);
});

it('takes one of several words, more than once', () => {
  const choose = choiceFlag('--state', ['queued', 'running']);
  expect(choose('running', choose('queued'))).toEqual(['queued', 'running']);
  expect(() => choose('lost')).toThrow('--state: must be one of queued, running, got "lost".');
});
