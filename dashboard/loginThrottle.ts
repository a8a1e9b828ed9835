/**
 * Slows the guessing of passwords down, and locks nobody out.
 *
 * Each attempt gets a moment at which its password is compared, and waits for it:
 * - Attempts on one account from one address come one after the other. After a few the pause between them doubles with each,
 *   up to a few seconds. A right password ends the pauses of its own account and address, of no other account.
 * - Attempts on one account from all addresses together are never closer than a fraction of a second. That bounds what many
 *   addresses can try, and what comparing costs.
 *
 * Whoever would wait too long is refused at once and uses up no moment. A right password so gets in as soon as the guesses
 * before it are through, within `LONGEST_WAIT_MS`. An attempt counts when it gets its moment, before anything is compared: attempts
 * at the same time cannot overtake the count.
 *
 * Libraries (rate-limiter-flexible, express-slow-down) either refuse for the rest of a window, which locks people out, or delay
 * each request by itself: a thousand at the same time are then a thousand guesses after one delay.
 */
import { isIPv6 } from 'node:net';
import type { Role } from './accounts.ts';

/** People mistype; so many attempts have no pause after them. */
const FREE_ATTEMPTS = 3;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4000;
/** Between attempts on one account, whoever makes them. */
const ACCOUNT_PAUSE_MS = 50;
export const LONGEST_WAIT_MS = 8000;
/** After this time without an attempt an address begins afresh. */
const FORGOTTEN_AFTER_MS = 15 * 60_000;
/** Beyond so many, the one that was used least recently is forgotten: what they all may try stays bounded by the account. */
const MOST_ADDRESSES = 10_000;

/** What is known of one key's attempts: how many, and when the next may be compared. */
interface Line {
  attempts: number;
  nextAt: number;
}

/** `waitMs`: until its password may be compared. `refusedForMs`: too many are waiting; after so long there is room again. */
export type Turn = { readonly waitMs: number } | { readonly refusedForMs: number };

export class LoginThrottle {
  /** By account and address, the one that was used least recently first. */
  readonly #addresses = new Map<string, Line>();
  readonly #accounts = new Map<Role | null, Line>();

  /** Names that are no account count as one account. */
  takeTurn(account: Role | null, address: string, now = Date.now()): Turn {
    const own = this.#lineOf(account, address, now);
    const all = this.#accounts.get(account) ?? { attempts: 0, nextAt: 0 };
    const at = Math.max(now, own.nextAt, all.nextAt);
    if (at - now > LONGEST_WAIT_MS) return { refusedForMs: at - now - LONGEST_WAIT_MS };
    own.attempts += 1;
    own.nextAt = at + pauseAfter(own.attempts);
    // Whoever waits for his own pauses takes no moment from others.
    all.nextAt = Math.max(now, all.nextAt) + ACCOUNT_PAUSE_MS;
    this.#accounts.set(account, all);
    return { waitMs: at - now };
  }

  /** After a right password. Those that wait already keep their moments. */
  forgive(account: Role, address: string): void {
    this.#addresses.delete(keyOf(account, address));
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#addresses.size;
  }

  #lineOf(account: Role | null, address: string, now: number): Line {
    this.#forget(now);
    const key = keyOf(account, address);
    const line = this.#addresses.get(key) ?? { attempts: 0, nextAt: now };
    // To the end: a map keeps the order in which its keys came.
    this.#addresses.delete(key);
    this.#addresses.set(key, line);
    return line;
  }

  #forget(now: number): void {
    for (const [key, { nextAt }] of this.#addresses) {
      if (this.#addresses.size < MOST_ADDRESSES && nextAt + FORGOTTEN_AFTER_MS > now) return;
      this.#addresses.delete(key);
    }
  }
}

function pauseAfter(attempts: number): number {
  if (attempts < FREE_ATTEMPTS) return 0;
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempts - FREE_ATTEMPTS, 10));
}

function keyOf(account: Role | null, address: string): string {
  return `${account} ${networkOf(address)}`;
}

/** One subscriber has all of an IPv6 /64, and a v4 address may be written as v6. */
function networkOf(address: string): string {
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const first = head.split(':').filter(Boolean);
  const last = (tail ?? '').split(':').filter(Boolean);
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0');
  return [...first, ...zeros, ...last].slice(0, 4).join(':');
}
