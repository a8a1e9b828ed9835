/**
 * Bounds guessing: so many failed logins per address, and so many in all, within a window. The bound in all holds even
 * against many addresses; while it is reached nobody can log in, but those who are stay so. It also bounds the memory.
 */
export class LoginLimiter {
  static readonly WINDOW_MS = 5 * 60_000;
  static readonly PER_ADDRESS = 10;
  static readonly IN_ALL = 100;
  #failures: { address: string; at: number }[] = [];

  /** How long this address must wait before its next attempt, in ms; 0 for not at all. */
  waitMs(address: string, now = Date.now()): number {
    this.#failures = this.#failures.filter((failure) => failure.at > now - LoginLimiter.WINDOW_MS);
    const own = this.#failures.filter((failure) => failure.address === address);
    const [oldest] = own.length >= LoginLimiter.PER_ADDRESS ? own : [];
    const [oldestInAll] = this.#failures.length >= LoginLimiter.IN_ALL ? this.#failures : [];
    const until = Math.max(oldest?.at ?? 0, oldestInAll?.at ?? 0) + LoginLimiter.WINDOW_MS;
    return oldest || oldestInAll ? Math.max(1, until - now) : 0;
  }

  /** Call before comparing, in the same tick as `waitMs`, so that attempts in parallel are counted too. */
  count(address: string, now = Date.now()): void {
    this.#failures.push({ address, at: now });
  }

  /** A right password clears its address. */
  forgive(address: string): void {
    this.#failures = this.#failures.filter((failure) => failure.address !== address);
  }
}
