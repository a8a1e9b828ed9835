/**
 * A job as this worker holds it: BullMQ's job under the token of one fetch. Everything that moves it is here, and every
 * move is checked against the lock by BullMQ's own scripts, so that a worker which lost it cannot move it.
 *
 * Jobs are fetched by hand (`getNextJob`) with a token of their own: BullMQ's processors re-use tokens.
 */
import { type Job, UnrecoverableError } from 'bullmq';
import { FloeError, type JobResult, type JobSpec, type Progress, queueOptions } from '../jobs/index.ts';

export class QueuedJob {
  readonly id: string;
  /** The fencing epoch: rises with every fetch, by whomever. */
  readonly epoch: number;
  readonly token: string;
  readonly #job: Job;

  constructor(job: Job, token: string) {
    this.id = job.id ?? '';
    this.epoch = job.attemptsStarted;
    this.token = token;
    this.#job = job;
  }

  get pool(): string {
    return this.#job.queueName;
  }

  /** What the producer queued; not checked yet. */
  get data(): unknown {
    return this.#job.data;
  }

  /**
   * Whether the program may fail by itself now and be started again. `failures`: how often it has, as its record says. The
   * queue does not know of one whose worker died between the two.
   */
  mayFailAgain(failures: number): boolean {
    return Math.max(this.#job.attemptsMade, failures) + 1 < (this.#job.opts.attempts ?? 1);
  }

  /** Renews the lock. False when it is no longer ours. */
  async extendLock(durationMs: number): Promise<boolean> {
    return (await this.#job.extendLock(this.token, durationMs)) === 1;
  }

  /** From now on it comes back in front of every waiting job: by `toFront` and `toLater`, and when this worker dies. */
  async keepInFront(): Promise<void> {
    await this.#job.changePriority({ priority: 0 });
  }

  /**
   * Back to the queue, in front of every waiting job, costing no attempt. `moveToWait` by itself would put it in front of its own
   * priority only, and wake no idle worker; priority 0 is BullMQ's way to say "before all priorities".
   */
  async toFront(): Promise<void> {
    await this.keepInFront();
    await this.#move(() => this.#job.moveToWait(this.token));
  }

  /** Out of the queue for a while, costing no attempt: this worker cannot run it now, another may. */
  async toLater(delayMs: number): Promise<void> {
    await this.#move(() => this.#job.moveToDelayed(Date.now() + delayMs, this.token));
  }

  /** The program failed by itself: the next attempt waits its turn, at the job's own priority, after the job's backoff. */
  async retry(spec: JobSpec, message: string): Promise<void> {
    await this.#job.changePriority({ priority: queueOptions(this.id, spec).priority ?? 0 });
    await this.#move(() => this.#job.moveToFailed(new Error(message), this.token, false));
  }

  async complete(result: JobResult): Promise<void> {
    // `false`: BullMQ would take the next job at once, under the same token.
    await this.#move(() => this.#job.moveToCompleted(result, this.token, false));
  }

  /** For good, whatever attempts are left. */
  async fail(message: string): Promise<void> {
    await this.#move(() => this.#job.moveToFailed(new UnrecoverableError(message), this.token, false));
  }

  async showProgress(progress: Progress): Promise<void> {
    await this.#job.updateProgress(progress);
  }

  /**
   * BullMQ's scripts refuse with a negative `code` what the lock does not allow. That also happens when a move was done
   * but its answer got lost and the connection sent it again; either way there is nothing left to do.
   */
  async #move(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && typeof error.code === 'number')) throw error;
      const message = `The queue no longer lets this worker move ${this.id}: ${error.message}.`;
      throw new FloeError('lost', message, 'Nothing to do: a worker takes the job up again.', { cause: error });
    }
  }
}
