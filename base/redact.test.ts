import { inspect } from 'node:util';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createLogger } from './log.ts';
import { credentialsIn, describeError, hideCredentials, keepSecret, plainError, redact, redactJson } from './redact.ts';

describe('redact', () => {
  it('replaces a secret as it is written and as addresses write it, the longer one first', () => {
    keepSecret('pa/ss?w#rd', 'pa/ss?w#rd-longer', 'ab');
    expect(redact('AUTH pa/ss?w#rd-longer, pa/ss?w#rd')).toBe('AUTH (hidden), (hidden)');
    expect(redact('redis://:pa%2Fss%3Fw%23rd@host')).toBe('redis://:(hidden)@host');
    expect(redact('about')).toBe('about'); // too short to be told from other words
  });

  it('leaves JSON what it was, whatever the secret looks like', () => {
    keepSecret('quo"te\\d', '170012');
    const line = `${JSON.stringify({ time: 1_700_123, a: ['x quo"te\\d y'], b: '170012' })}\n`;
    expect(JSON.parse(redactJson(line))).toEqual({ time: 1_700_123, a: ['x (hidden) y'], b: '(hidden)' });
    expect(redactJson(line)).toMatch(/\n$/);
  });
});

describe('an address', () => {
  it.each([
    ['redis://host:6379/3', 'redis://host:6379/3'],
    ['redis://user:secret@host:6379', 'redis://host:6379'],
    ['redis://:sec@ret@host', 'redis://host'],
    ['rediss://:sec:ret@host/0?family=6', 'rediss://host/0?family=6'],
    ['redis://:sec/ret@host', 'redis://…'],
    ['redis://user:12/secret@host', 'redis://…'],
    ['redis://user:12#secret@host', 'redis://…'],
    ['redis://user:12?secret@host', 'redis://…'],
    ['redis://host?password=sec@ret', 'redis://…'],
    ['redis://host?db=1&password=secret&x=1', 'redis://host?db=1&password=(hidden)&x=1'],
    ['unix:///run/a@b/socket?password=secret', 'unix:///run/a@b/socket?password=(hidden)'],
    ['file:///home/a@b/store', 'file:///home/a@b/store'],
    ['s3://key:sec/ret@bucket', 's3://…'],
    ['s3://bucket?endpoint=http://u:secret@host', 's3://…'],
    ['http:user:secret@host', '…'],
    ['localhost:6379', 'localhost:6379'],
  ])('%s is shown as %s', (address, shown) => expect(hideCredentials(address)).toBe(shown));

  it.each([
    ['redis://user:secret@host', ['secret']],
    ['redis://:sec/r@et@host', ['sec/r@et']],
    ['redis://user@host', []],
    ['redis://host?password=sec@ret', ['sec@ret']],
    ['s3://bucket?endpoint=http://u:secret@host&region=x', ['secret']],
  ])('%s holds %j', (address, secrets) => expect(credentialsIn(address)).toEqual(expect.arrayContaining(secrets)));
});

describe('an error', () => {
  const failed = Object.assign(new Error("ERR unknown command 'HELLO', with args beginning with: 'hunter22'"), {
    code: 'ERR',
    remedy: 'Try hunter22.',
    command: { name: 'auth', args: ['floe', 'other-password'] },
    $metadata: { headers: { authorization: 'other-password' } },
  });
  const outer = new Error('It failed.', { cause: failed });

  it('keeps its words, code, stack and causes, and none of the fields that libraries add', () => {
    keepSecret('hunter22');
    const plain = plainError(outer);
    expect(plain.cause).toMatchObject({ type: 'Error', code: 'ERR', remedy: 'Try (hidden).' });
    for (const text of [inspect(plain, { depth: 20 }), describeError(outer)]) {
      expect(text).toContain('unknown command');
      expect(text).toContain('redact.test.ts');
      expect(text).not.toMatch(/hunter22|other-password/);
    }
  });

  it('is logged that way, by child loggers too, with a secret in the message or in any field hidden', () => {
    keepSecret('hunter22');
    const lines: string[] = [];
    const log = createLogger({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    log.child({ run: 'hunter22' }).warn({ err: outer, deep: { url: ['redis://:hunter22@h'] } }, 'again hunter22');
    log.error(failed);
    log.error({ error: failed, cause: outer }, 'both');
    expect(lines.map((line) => JSON.parse(line).level)).toEqual([40, 50, 50]);
    expect(lines.join('')).not.toMatch(/hunter22|other-password/);
    expect(lines[0]).toContain('unknown command');
  });

  it('would have shown all of it otherwise', () => {
    const lines: string[] = [];
    pino({ level: 'info' }, { write: (line: string) => void lines.push(line) }).error({ err: failed });
    expect(lines[0]).toContain('other-password');
  });
});
