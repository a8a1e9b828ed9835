/**
 * Whether this worker still owns a job, and since when it cannot know.
 *
 * The queue's lock is renewed every quarter of its duration. Each success is good until `stopMarginMs` before the lock
 * would expire, counted from when the request was *sent*: Redis cannot have started its own clock earlier. The
 * container is told the same term, and kills itself when it runs out, even if this process hangs. So by the time that
 * another worker can have the job, its program has stopped here.
 *
 * - Redis does not answer: nothing happens until the term is over; then the lease is lost.
 * - Redis says that the lock is not ours: the lease is lost at once.
 *
 * Lost is for good: `signal` aborts, and whoever works on the job kills it and writes nothing more.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pRetry from 'p-retry';
import { ZodError } from 'zod';
import type { RenewLease } from '../freezer/runtime.ts';
import { FloeError } from '../jobs/index.ts';
import { unlessAborted } from './unlessAborted.ts';

export interface LeaseTerms {
  readonly lockDurationMs: number;
  /** How long before the lock's end the program is stopped. */
  readonly stopMarginMs: number;
}

export interface InsistOptions {
  readonly isFinal?: (error: Error) => boolean;
  readonly signal?: AbortSignal;
  readonly onFailure?: (error: Error) => void;
}

export class Lease implements Disposable {
  readonly #lost = new AbortController();
  readonly #closed = new AbortController();
  readonly #renewLock: (durationMs: number) => Promise<boolean>;
  readonly #terms: LeaseTerms;
  #validUntil = 0;
  #expiry: NodeJS.Timeout | undefined;
  #renewContainer: RenewLease | undefined;

  private constructor(renewLock: (durationMs: number) => Promise<boolean>, terms: LeaseTerms) {
    this.#renewLock = renewLock;
    this.#terms = terms;
  }

  /**
   * Renews the lock, and from then on until disposed. `renewLock` resolves to whether the lock is ours, and may reject.
   * Throws `FloeError` `lost` when the lock is not ours, and what `renewLock` throws at first.
   */
  static async open(renewLock: (durationMs: number) => Promise<boolean>, terms: LeaseTerms): Promise<Lease> {
    const lease = new Lease(renewLock, terms);
    await unlessAborted(AbortSignal.timeout(terms.lockDurationMs), lease.#renew());
    lease.signal.throwIfAborted();
    void lease.#keepRenewing();
    return lease;
  }

  /** Aborts with a `FloeError` `lost`. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** How long it is valid from now without another renewal; 0 when it is lost. */
  get remainingMs(): number {
    return this.signal.aborted ? 0 : Math.max(0, Math.floor(this.#validUntil - performance.now()));
  }

  /** Ties a container to the lease, from now on; in the place of one before it, whose thaw failed. */
  attach(renewContainer: RenewLease): void {
    this.#renewContainer = renewContainer;
    renewContainer(this.remainingMs);
  }

  /**
   * Repeats work on Redis or the store until it is done. Rejects with the lease's `lost` or the reason of `signal`, even
   * when the work hangs, and with an error for which `isFinal` says that trying again is of no use (default: every
   * `FloeError`, and what is not of its schema). `onFailure` hears of each failure that is followed by another try.
   */
  async insist<T>(work: () => Promise<T>, options: InsistOptions = {}): Promise<T> {
    const signal = options.signal ? AbortSignal.any([this.signal, options.signal]) : this.signal;
    const isFinal = options.isFinal ?? isFinalByDefault;
    const done = pRetry(work, {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 100,
      maxTimeout: 5000,
      signal,
      shouldRetry: ({ error }) => !isFinal(error),
      onFailedAttempt: ({ error }) => {
        if (!isFinal(error)) options.onFailure?.(error);
      },
    });
    return unlessAborted(signal, done);
  }

  /** Loses it by decision: this worker must end at once, or cannot go on with the job. */
  abandon(reason: string): void {
    clearTimeout(this.#expiry);
    // Whatever this process is waiting for, the program ends now.
    this.#renewContainer?.(0);
    this.#lost.abort(new FloeError('lost', reason, 'Nothing to do: a worker takes the job up again.'));
  }

  [Symbol.dispose](): void {
    this.#closed.abort();
    clearTimeout(this.#expiry);
    this.#renewContainer = undefined;
  }

  async #keepRenewing(): Promise<void> {
    const over = AbortSignal.any([this.#closed.signal, this.signal]);
    while (!over.aborted) {
      try {
        await delay(this.#terms.lockDurationMs / 4, undefined, { signal: over });
        await unlessAborted(over, this.#renew());
      } catch {
        // Over, or Redis failed. That is no news about the lock: the term runs out unless a later renewal succeeds.
      }
    }
  }

  async #renew(): Promise<void> {
    const sentAt = performance.now();
    const ours = await this.#renewLock(this.#terms.lockDurationMs);
    if (ours) this.#extend(sentAt);
    else this.abandon('The lock is not ours any more.');
  }

  #extend(sentAt: number): void {
    if (this.signal.aborted || this.#closed.signal.aborted) return;
    this.#validUntil = sentAt + this.#terms.lockDurationMs - this.#terms.stopMarginMs;
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => this.abandon('The lock could not be renewed in time.'), this.remainingMs);
    this.#renewContainer?.(this.remainingMs);
  }
}

function isFinalByDefault(error: Error): boolean {
  return error instanceof FloeError || error instanceof ZodError;
}
