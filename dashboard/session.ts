/** Who may do what, and the signed cookie that says so. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { FloeError } from '../jobs/index.ts';

/** `operator` may change things; `readOnly` may look at everything. */
export type Role = 'operator' | 'readOnly';

export const SESSION_COOKIE = 'floe_session';
export const SESSION_LIFETIME_MS = 12 * 3_600_000;

const Session = z.strictObject({ role: z.enum(['operator', 'readOnly']), expiresAt: z.int() });

/**
 * Sessions live in their cookie alone: `base64url(JSON).base64url(HMAC-SHA256)`. The key is made anew at every start and
 * not derived from a password, so that no cookie helps to guess one; a restart logs everybody out.
 */
export class Sessions {
  readonly #key = randomBytes(32);

  issue(role: Role, now = Date.now()): string {
    const session: z.input<typeof Session> = { role, expiresAt: now + SESSION_LIFETIME_MS };
    const payload = Buffer.from(JSON.stringify(session)).toString('base64url');
    return `${payload}.${this.#sign(payload).toString('base64url')}`;
  }

  /** The role of a cookie's value, or null when it is forged, expired or nonsense. */
  read(value: string, now = Date.now()): Role | null {
    const [payload = '', signature = '', ...more] = value.split('.');
    const given = Buffer.from(signature, 'base64url');
    const expected = this.#sign(payload);
    if (more.length > 0 || given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    const session = Session.parse(JSON.parse(Buffer.from(payload, 'base64url').toString()));
    return session.expiresAt > now ? session.role : null;
  }

  #sign(payload: string): Buffer {
    return createHmac('sha256', this.#key).update(payload).digest();
  }
}

/** The two passwords. Without an operator's one is generated; without a reader's that role does not exist. */
export class Passwords {
  /** The operator's password when it was generated, for printing it once. */
  readonly generated: string | undefined;
  readonly #key = randomBytes(32);
  readonly #operator: Buffer;
  readonly #readOnly: Buffer | null;

  /** Throws `FloeError` `invalidOption` for an empty password, or the same one for both roles. */
  constructor(given: { password?: string | undefined; readOnlyPassword?: string | undefined }) {
    if (given.password === '' || given.readOnlyPassword === '') {
      throw new FloeError('invalidOption', 'A dashboard password is empty.', 'Leave it out, or set one.');
    }
    if (given.password !== undefined && given.password === given.readOnlyPassword) {
      throw new FloeError(
        'invalidOption',
        'The password and the read-only password of the dashboard are the same.',
        'Choose two different ones: the password alone tells who logs in.',
      );
    }
    if (given.password === undefined) this.generated = randomBytes(15).toString('base64url');
    this.#operator = this.#digest(given.password ?? this.generated ?? '');
    this.#readOnly = given.readOnlyPassword === undefined ? null : this.#digest(given.readOnlyPassword);
  }

  /** The role that a password opens. Takes the same time whatever was given. */
  roleOf(password: string): Role | null {
    const given = this.#digest(password);
    const operator = timingSafeEqual(given, this.#operator);
    const readOnly = timingSafeEqual(given, this.#readOnly ?? this.#operator);
    if (operator) return 'operator';
    return readOnly && this.#readOnly !== null ? 'readOnly' : null;
  }

  #digest(password: string): Buffer {
    return createHmac('sha256', this.#key).update(password).digest();
  }
}

/** The value of one cookie in a `Cookie` header. */
export function readCookie(header: string | undefined, name: string): string | null {
  const pair = (header ?? '').split(';').find((text) => text.trim().startsWith(`${name}=`));
  return pair === undefined ? null : pair.trim().slice(name.length + 1);
}
