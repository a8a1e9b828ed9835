/** Who is logged in. */
import { createHash, randomBytes } from 'node:crypto';
import type { Request, Response } from 'express';
import type { Role } from './accounts.ts';

export const SESSION_LIFETIME_MS = 12 * 3_600_000;

/** Browsers take `__Host-` only from this very host, over TLS, and for all of its paths: nobody else can set it. */
const SECURE_COOKIE = '__Host-floe_session';
const PLAIN_COOKIE = 'floe_session';

/** More than people have browsers. It bounds the memory that somebody with a right password can take. */
const MOST_PER_ROLE = 1000;

interface Session {
  readonly role: Role;
  readonly expiresAt: number;
}

/**
 * The sessions that are not over, in this process alone: a restart ends them all, and so does a new password, which needs one.
 * A cookie is a random token and says nothing by itself. Kept is its hash: what the memory holds opens nothing.
 */
export class Sessions {
  /** In the order in which they began. */
  readonly #open = new Map<string, Session>();

  /** The token of a new session. Of too many sessions of one role the oldest ends. */
  begin(role: Role, now = Date.now()): string {
    this.#forgetExpired(now);
    const same = [...this.#open].filter(([, session]) => session.role === role);
    const [oldest] = same.length >= MOST_PER_ROLE ? same : [];
    if (oldest) this.#open.delete(oldest[0]);
    const token = randomBytes(32).toString('base64url');
    this.#open.set(hash(token), { role, expiresAt: now + SESSION_LIFETIME_MS });
    return token;
  }

  /** The role of a token's session, or null when there is none or it is over. */
  roleOf(token: string, now = Date.now()): Role | null {
    const session = this.#open.get(hash(token));
    return session && session.expiresAt > now ? session.role : null;
  }

  end(token: string): void {
    this.#open.delete(hash(token));
  }

  endAll(): void {
    this.#open.clear();
  }

  #forgetExpired(now: number): void {
    for (const [key, { expiresAt }] of this.#open) {
      if (expiresAt > now) return; // those that began later end later
      this.#open.delete(key);
    }
  }
}

function hash(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}

/** Over TLS the plain name is not looked at: somebody between could have set it on a connection without TLS. */
export function sessionToken(request: Request): string | null {
  const { cookie } = request.headers;
  const secure = readCookie(cookie, SECURE_COOKIE);
  return request.secure ? secure : (secure ?? readCookie(cookie, PLAIN_COOKIE));
}

/**
 * Whether the browser that sends this form is connected by TLS. A proxy that is not trusted cannot say it, but the browser's own
 * `Origin` does, which `requireSameOrigin` has compared with `Host`. Whoever makes up an `Origin` gets a stricter cookie himself.
 */
function isOverTls(request: Request): boolean {
  return request.secure || request.headers.origin?.startsWith('https:') === true;
}

export function setSessionCookie(request: Request, response: Response, token: string): void {
  const secure = isOverTls(request);
  response.cookie(secure ? SECURE_COOKIE : PLAIN_COOKIE, token, { ...attributes(secure), maxAge: SESSION_LIFETIME_MS });
}

export function clearSessionCookies(response: Response): void {
  response.clearCookie(SECURE_COOKIE, attributes(true));
  response.clearCookie(PLAIN_COOKIE, attributes(false));
}

function attributes(secure: boolean) {
  return { httpOnly: true, sameSite: 'strict', secure, path: '/' } as const;
}

/** The value of one cookie in a `Cookie` header. */
export function readCookie(header: string | undefined, name: string): string | null {
  const pair = (header ?? '').split(';').find((text) => text.trim().startsWith(`${name}=`));
  return pair === undefined ? null : pair.trim().slice(name.length + 1);
}
