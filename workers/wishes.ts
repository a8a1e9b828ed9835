/**
 * What the outside wants of a run, gathered until the run gets to it. A wish is never taken back; `changed` wakes the run
 * whenever there is a new one.
 */
import type { ProgramEnd } from '../freezer/runtime.ts';
import type { DiskExceeded } from './diskWatch.ts';
import type { Notice } from './notices/source.ts';

export class Wishes {
  /** The program has ended by itself, or its container went away. */
  end: ProgramEnd | null = null;
  /** Freeze the job and give it back: this machine goes away. */
  move: Notice | null = null;
  /** There is no time left for a move. */
  deadlinePassed = false;
  cancel = false;
  timedOut = false;
  /** It has too much on the disk. */
  disk: DiskExceeded | null = null;
  /** Take a checkpoint and run on; why, for people. */
  checkpoint: string | null = null;
  #changed = Promise.withResolvers<void>();
  readonly #kill = new AbortController();
  readonly #cancel = new AbortController();
  readonly #leave = new AbortController();
  readonly #deadline = new AbortController();
  readonly #ended = new AbortController();

  /** Sets wishes and wakes the run; without any, only wakes it. */
  set(
    wishes: Partial<Pick<Wishes, 'end' | 'move' | 'deadlinePassed' | 'cancel' | 'timedOut' | 'disk' | 'checkpoint'>>,
  ): void {
    Object.assign(this, wishes);
    if (this.cancel || this.timedOut || this.disk || this.deadlinePassed) this.#kill.abort();
    if (this.cancel) this.#cancel.abort();
    if (this.move || this.cancel) this.#leave.abort();
    if (this.deadlinePassed) this.#deadline.abort();
    if (this.end) this.#ended.abort();
    this.#changed.resolve();
  }

  /** Aborts when the program is to be killed: whatever freeze is under way has become useless. */
  get killWanted(): AbortSignal {
    return this.#kill.signal;
  }

  /** Aborts with `cancel`. */
  get cancelWanted(): AbortSignal {
    return this.#cancel.signal;
  }

  /** Aborts when a job that has not begun need not begin here, and when a periodic checkpoint is in the way of more. */
  get leaveWanted(): AbortSignal {
    return this.#leave.signal;
  }

  /** Aborts with `deadlinePassed`. */
  get deadline(): AbortSignal {
    return this.#deadline.signal;
  }

  /** Aborts when there is no program any more. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Resolves at the next wish, or after `ms`; at once when there was one since the last call. */
  async changed(ms?: number): Promise<void> {
    const changed = this.#changed.promise;
    if (ms === undefined) await changed;
    else {
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, ms);
      await Promise.race([changed, late.promise]);
      clearTimeout(timer);
    }
    this.#changed = Promise.withResolvers();
  }
}
