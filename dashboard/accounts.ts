/** The two accounts, and what opens them. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { FloeError } from '../jobs/index.ts';

/** `operator` may change things; `readOnly` may look at everything. */
export type Role = 'operator' | 'readOnly';

/** Earlier versions sent `floe` for everybody, unseen, and password managers kept it. */
const USER_NAMES: Readonly<Record<string, Role>> = { admin: 'operator', floe: 'operator', viewer: 'readOnly' };

/** The account that a user name means; null for a name that is none. */
export function accountOf(userName: string): Role | null {
  const name = userName.trim().toLowerCase();
  return Object.hasOwn(USER_NAMES, name) ? (USER_NAMES[name] ?? null) : null;
}

/** Without an operator's password one is generated; without a reader's that account does not exist. */
export class Passwords {
  /** The operator's password when it was generated, for printing it once. */
  readonly generated: string | undefined;
  readonly #key = randomBytes(32);
  readonly #digests: Readonly<Record<Role, Buffer | null>>;

  /** Throws `FloeError` `invalidOption` for an empty password, or the same one for both roles. */
  constructor(given: { password?: string | undefined; readOnlyPassword?: string | undefined }) {
    if (given.password === '' || given.readOnlyPassword === '') {
      throw new FloeError('invalidOption', 'A dashboard password is empty.', 'Leave it out, or set one.');
    }
    if (given.password !== undefined && given.password === given.readOnlyPassword) {
      throw new FloeError(
        'invalidOption',
        'The password and the read-only password of the dashboard are the same.',
        'Choose two different ones: whoever may look could otherwise change everything.',
      );
    }
    if (given.password === undefined) this.generated = randomBytes(15).toString('base64url');
    const readOnly = given.readOnlyPassword;
    this.#digests = {
      operator: this.#digest(given.password ?? this.generated ?? ''),
      readOnly: readOnly === undefined ? null : this.#digest(readOnly),
    };
  }

  /** Whether this password opens this account. Takes the same time whatever was given, also for an account that is none. */
  opens(account: Role | null, password: string): boolean {
    const expected = account === null ? null : this.#digests[account];
    const isRight = timingSafeEqual(this.#digest(password), expected ?? this.#key);
    return isRight && expected !== null;
  }

  #digest(password: string): Buffer {
    return createHmac('sha256', this.#key).update(password).digest();
  }
}
