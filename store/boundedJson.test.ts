/** What whoever can write to a bucket can do with a few MiB of JSON. */
import { expect, test } from 'vitest';
import { parseBounded } from './boundedJson.ts';

const parse = (text: string, most = 3) => parseBounded(Buffer.from(text), most);

test('it is what JSON.parse makes of it, from any part of a buffer', () => {
  const value = { a: [{ text: 'ö \\ " [[[[ {{{{ \\" [' }], b: 1 };
  expect(parse(JSON.stringify(value))).toEqual(value);
  expect(parseBounded(Buffer.from(` ${JSON.stringify(value)} `).subarray(1, -1), 3)).toEqual(value);
});

test('with more objects and lists than that it is refused, beside each other or within each other, and before it is parsed', () => {
  expect(() => parse('[[],[],[]]')).toThrow('more than 3 objects and lists');
  expect(() => parse('{"a\\\\":{},"b":{},"c":{}}')).toThrow('more than 3');
  for (const text of [`[${'{},'.repeat(2 ** 20)}{}]`, '['.repeat(2 ** 22)])
    expect(() => parse(text)).toThrow(SyntaxError);
});

test('what is no JSON is refused as ever', () => {
  for (const text of ['', '{', '"', '"\\', 'nothing']) expect(() => parse(text)).toThrow(SyntaxError);
});
