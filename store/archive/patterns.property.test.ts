import { matchesGlob } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { matchesName } from './patterns.ts';

const text = (characters: string) => fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 7 });

it('matches names as node:path does', () => {
  const check = (name: string, segment: string) => matchesName(name, segment) === matchesGlob(name, segment);
  const names = text('ab.é!#').filter((name) => !/^\.\.?$/.test(name));
  fc.assert(fc.property(names, text('ab.é!#*?'), check), { numRuns: 5000 });
});

// As a regular expression it would take longer than the tests may.
it('is not kept by a name that an asterisk fits in many places', () => {
  expect(matchesName('a'.repeat(255), `${'*a'.repeat(60)}b`)).toBe(false);
  expect(matchesName('a'.repeat(255), `${'*a'.repeat(60)}*`)).toBe(true);
});
