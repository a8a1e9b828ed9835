import { describe, expect, it } from 'vitest';
import { LoginLimiter } from './loginLimiter.ts';
import { localPath } from './loginRoutes.ts';
import { Passwords, readCookie, SESSION_LIFETIME_MS, Sessions } from './session.ts';

describe('Sessions', () => {
  const now = 1_700_000_000_000;

  it('gives back the role that was signed, until it expires', () => {
    const sessions = new Sessions();
    const cookie = sessions.issue('readOnly', now);
    expect(sessions.read(cookie, now + SESSION_LIFETIME_MS - 1)).toBe('readOnly');
    expect(sessions.read(cookie, now + SESSION_LIFETIME_MS)).toBeNull();
  });

  it('refuses another role under the same signature, another key, and nonsense', () => {
    const sessions = new Sessions();
    const [, signature] = sessions.issue('readOnly', now).split('.');
    const [operator] = new Sessions().issue('operator', now).split('.');
    for (const forged of [
      `${operator}.${signature}`,
      new Sessions().issue('operator', now),
      '',
      '.',
      'a.b.c',
      `${operator}.`,
    ]) {
      expect(sessions.read(forged, now)).toBeNull();
    }
    expect(sessions.read(`${sessions.issue('operator', now)}.x`, now)).toBeNull();
  });
});

describe('Passwords', () => {
  it('generates a long one when none is given, a new one each time', () => {
    const first = new Passwords({});
    expect(first.generated).toMatch(/^[\w-]{20}$/);
    expect(new Passwords({}).generated).not.toBe(first.generated);
    expect(first.roleOf(first.generated ?? '')).toBe('operator');
  });

  it('tells the roles apart, and lets nobody in read-only when that role has no password', () => {
    const both = new Passwords({ password: 'alpha', readOnlyPassword: 'beta' });
    expect([both.roleOf('alpha'), both.roleOf('beta'), both.roleOf('gamma'), both.roleOf('')]).toEqual([
      'operator',
      'readOnly',
      null,
      null,
    ]);
    const one = new Passwords({ password: 'alpha' });
    expect([one.roleOf('alpha'), one.roleOf(''), one.roleOf('undefined')]).toEqual(['operator', null, null]);
  });

  it.each([{ password: '' }, { readOnlyPassword: '' }, { password: 'same', readOnlyPassword: 'same' }])(
    'refuses %o',
    (given) => expect(() => new Passwords(given)).toThrow(expect.objectContaining({ code: 'invalidOption' })),
  );
});

describe('LoginLimiter', () => {
  it('stops one address after its share and lets it try again after the window', () => {
    const limiter = new LoginLimiter();
    for (let tried = 0; tried < LoginLimiter.PER_ADDRESS; tried += 1) {
      expect(limiter.waitMs('a', 0)).toBe(0);
      limiter.count('a', 0);
    }
    expect(limiter.waitMs('a', 1000)).toBe(LoginLimiter.WINDOW_MS - 1000);
    expect(limiter.waitMs('b', 1000)).toBe(0);
    expect(limiter.waitMs('a', LoginLimiter.WINDOW_MS)).toBe(0);
  });

  it('stops everybody once many addresses have tried', () => {
    const limiter = new LoginLimiter();
    for (let tried = 0; tried < LoginLimiter.IN_ALL; tried += 1) limiter.count(`address ${tried}`, 0);
    expect(limiter.waitMs('another', 1)).toBeGreaterThan(0);
  });
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
