import { describe, expect, it } from 'vitest';
import { accountOf, Passwords } from './accounts.ts';
import { localPath } from './loginRoutes.ts';
import { readCookie, SESSION_LIFETIME_MS, Sessions } from './session.ts';

describe('Sessions', () => {
  const now = 1_700_000_000_000;

  it('know a token until it expires or is ended, and no other', () => {
    const sessions = new Sessions();
    const [token, other] = [sessions.begin('readOnly', now), sessions.begin('operator', now)];
    expect(sessions.roleOf(token, now + SESSION_LIFETIME_MS - 1)).toBe('readOnly');
    expect(sessions.roleOf(token, now + SESSION_LIFETIME_MS)).toBeNull();
    for (const forged of ['', 'x', `${token}x`, token.slice(1)]) expect(sessions.roleOf(forged, now)).toBeNull();
    expect(new Sessions().roleOf(token, now)).toBeNull();
    sessions.end(token);
    expect([sessions.roleOf(token, now), sessions.roleOf(other, now)]).toEqual([null, 'operator']);
    sessions.endAll();
    expect(sessions.roleOf(other, now)).toBeNull();
  });

  it('of one role are bounded, and do not push those of the other out', () => {
    const sessions = new Sessions();
    const operator = sessions.begin('operator', now);
    const first = sessions.begin('readOnly', now);
    const last = Array.from({ length: 1000 }, () => sessions.begin('readOnly', now)).at(-1) ?? '';
    expect([operator, first, last].map((token) => sessions.roleOf(token, now))).toEqual(['operator', null, 'readOnly']);
  });
});

describe('Passwords', () => {
  it('generates a long one when none is given, a new one each time', () => {
    const first = new Passwords({});
    expect(first.generated).toMatch(/^[\w-]{20}$/);
    expect(new Passwords({}).generated).not.toBe(first.generated);
    expect(first.opens('operator', first.generated ?? '')).toBe(true);
  });

  it('open their own account alone, and none without a password', () => {
    const both = new Passwords({ password: 'alpha', readOnlyPassword: 'beta' });
    const opened = (account: Parameters<Passwords['opens']>[0]) =>
      ['alpha', 'beta', 'gamma', '', 'undefined'].filter((password) => both.opens(account, password));
    expect([opened('operator'), opened('readOnly'), opened(null)]).toEqual([['alpha'], ['beta'], []]);
    const one = new Passwords({ password: 'alpha' });
    for (const password of ['alpha', '', 'undefined']) expect(one.opens('readOnly', password)).toBe(false);
  });

  it.each([{ password: '' }, { readOnlyPassword: '' }, { password: 'same', readOnlyPassword: 'same' }])(
    'refuses %o',
    (given) => expect(() => new Passwords(given)).toThrow(expect.objectContaining({ code: 'invalidOption' })),
  );
});

it('accountOf takes the names that people type and password managers kept', () => {
  expect(['admin', ' Admin', 'floe', 'viewer', 'VIEWER '].map(accountOf)).toEqual([
    ...['operator', 'operator', 'operator', 'readOnly', 'readOnly'],
  ]);
  expect(['', 'root', 'constructor', '__proto__'].map(accountOf)).toEqual([null, null, null, null]);
});

describe('localPath', () => {
  it.each([
    ['/jobs/a?x=1', '/jobs/a?x=1'],
    ['https://evil.example/', '/'],
    ['//evil.example/', '/'],
    ['/\\evil.example', '/'],
    ['http://dashboard.invalid//evil.example', '/evil.example'],
    ['javascript:alert(1)', '/'],
    ['', '/'],
  ])('%s leads to %s', (next, path) => expect(localPath(next)).toBe(path));
});

describe('readCookie', () => {
  it('finds one among several and no longer name', () => {
    expect(readCookie('xfloe=1; floe=2; floe2=3', 'floe')).toBe('2');
    expect(readCookie('floe2=3', 'floe')).toBeNull();
    expect(readCookie(undefined, 'floe')).toBeNull();
  });
});
