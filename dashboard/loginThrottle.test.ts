import { describe, expect, it } from 'vitest';
import type { Role } from './accounts.ts';
import { LONGEST_WAIT_MS, LoginThrottle } from './loginThrottle.ts';

const DAY_MS = 24 * 3_600_000;

/** The moments at which somebody's passwords are compared who tries at these moments; those refused are left out. */
function compared(throttle: LoginThrottle, account: Role | null, address: string, tries: readonly number[]): number[] {
  return tries.flatMap((now) => {
    const turn = throttle.takeTurn(account, address, now);
    return 'waitMs' in turn ? [now + turn.waitMs] : [];
  });
}

const every = (stepMs: number, untilMs: number) => Array.from({ length: untilMs / stepMs }, (_, at) => at * stepMs);

describe('LoginThrottle', () => {
  it('lets people mistype, and then slows one address down', () => {
    const at = compared(new LoginThrottle(), 'operator', 'a', [0, 1000, 2000, 3000, 3000, 3000]);
    expect(at.slice(0, 3)).toEqual([0, 1000, 2000]);
    expect(at.at(-1)).toBeGreaterThan(3000);
  });

  it('compares few of all that one address can send in a day, at once or one after the other', () => {
    const patient = compared(new LoginThrottle(), 'operator', 'a', every(100, DAY_MS));
    expect(patient.length).toBeLessThan(22_000);
    const greedy = compared(new LoginThrottle(), 'operator', 'a', new Array(10_000).fill(0));
    expect(greedy.length).toBeLessThan(10);
  });

  it('compares few of all that ten thousand addresses can send at once', () => {
    const throttle = new LoginThrottle();
    const all = Array.from({ length: 10_000 }, (_, at) => compared(throttle, 'operator', `a${at}`, [0]));
    expect(all.flat().length).toBeLessThan(200);
  });

  it('does not let a right password of one account forgive guesses at another (M2)', () => {
    const throttle = new LoginThrottle();
    let guesses = 0;
    for (let now = 0; now < 60_000; now += 100) {
      guesses += compared(throttle, 'operator', 'a', [now]).length;
      compared(throttle, 'readOnly', 'a', [now]);
      throttle.forgive('readOnly', 'a');
    }
    expect(guesses).toBeLessThan(30);
  });

  it('keeps nobody out for longer than a bounded time after any number of guesses, from his own address too (M3)', () => {
    const throttle = new LoginThrottle();
    for (const address of ['proxy', 'b', 'c']) compared(throttle, 'operator', address, new Array(1000).fill(0));
    // The wrong guesses have ended. Whoever is refused is told when to come again, and then gets in.
    for (const address of ['proxy', 'elsewhere']) {
      let now = 1;
      let turn = throttle.takeTurn('operator', address, now);
      if ('refusedForMs' in turn) {
        now += turn.refusedForMs;
        turn = throttle.takeTurn('operator', address, now);
      }
      expect('waitMs' in turn && now + turn.waitMs).toBeLessThan(2 * LONGEST_WAIT_MS);
    }
    expect(throttle.takeTurn('readOnly', 'proxy', 1)).toEqual({ waitMs: 0 });
  });

  it('lets the right password of somebody elsewhere in at once while one address guesses without end', () => {
    const throttle = new LoginThrottle();
    for (const now of every(10, 60_000)) throttle.takeTurn('operator', 'attacker', now);
    const turn = throttle.takeTurn('operator', 'elsewhere', 60_000);
    expect('waitMs' in turn && turn.waitMs).toBeLessThan(500);
  });

  it('begins afresh after a right password, and after a while', () => {
    const throttle = new LoginThrottle();
    compared(throttle, 'operator', 'a', new Array(5).fill(0));
    throttle.forgive('operator', 'a');
    expect(throttle.takeTurn('operator', 'a', 1000)).toEqual({ waitMs: 0 });
    compared(throttle, 'operator', 'a', new Array(5).fill(1000));
    expect(throttle.takeTurn('operator', 'a', 3_600_000)).toEqual({ waitMs: 0 });
  });

  it('counts a network of IPv6 as one address, and an address of IPv4 as itself', () => {
    const throttle = new LoginThrottle();
    for (const address of ['2001:db8::1', '2001:db8::2', '2001:db8:0:0:1:2:3:4', '2001:db8::9']) {
      throttle.takeTurn('operator', address, 0);
    }
    expect(throttle.size).toBe(1);
    for (const address of ['2001:db8:0:1::1', '::1', '10.0.0.1', '::ffff:10.0.0.1'])
      throttle.takeTurn(null, address, 0);
    expect(throttle.size).toBe(4);
  });

  it('needs a bounded amount of memory, however many addresses and names there are', () => {
    const throttle = new LoginThrottle();
    for (let at = 0; at < 50_000; at += 1) throttle.takeTurn(null, `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, at);
    expect(throttle.size).toBeLessThanOrEqual(10_000);
  });
});
