/**
 * One run of a job on this worker, from the queue and back to it:
 *
 *   claim ─► mine ─► begin ─► watch ─► given back, or ended       (claim.ts, begin.ts, watch.ts)
 *     │                │
 *     │                ├─► later: passed on                      └─► never: the job fails
 *     └─► gone, settled: the queue is told how it ended · unfit: passed on · staleEpoch: once more
 *
 * Passed on: to an idle worker, which may be a better place for it; where there is none, a while out of the queue.
 *
 * In every state the lease can be lost (lease.ts). Then the container is killed, nothing more is written, and whoever gets
 * the job next finds out what happened. An error that nobody foresaw ends the same way, after the job has been put
 * out of the queue for a while; the next run counts it as a crash.
 */
import type { Job } from 'bullmq';
import { FreezerError } from '../freezer/index.ts';
import { FloeError, type JobRecord, readRecord } from '../jobs/index.ts';
import { StoreError } from '../store/store.ts';
import { begin } from './begin.ts';
import { type Claim, cancelledResult, claimJob } from './claim.ts';
import type { WorkerContext } from './context.ts';
import { Lease } from './lease.ts';
import type { Ledger } from './ledger.ts';
import type { Notice } from './notices/source.ts';
import { QueuedJob } from './queuedJob.ts';
import { resultWithoutEnd } from './result.ts';
import { report, settle } from './settle.ts';
import { LONGEST_TIMER_MS } from './timer.ts';
import { type Freezable, FreezeTime } from './triage.ts';
import { watchProgram } from './watch.ts';
import { Wishes } from './wishes.ts';

/** How long a job that cannot run here now stays out of the queue. */
const LATER_MS = 5000;
/** What is left of the time before a deadline to give back what could not be saved. */
const DEADLINE_MARGIN = { share: 0.2, longestMs: 3000 };
/** What a job is taken to weigh before its first checkpoint. */
const UNKNOWN_BYTES = 256 * 2 ** 20;

export class Stint {
  readonly jobId: string;
  /** Resolves when the job is no longer this worker's; never rejects. */
  readonly done: Promise<void>;
  readonly #context: WorkerContext;
  readonly #queued: QueuedJob;
  readonly #wishes = new Wishes();
  readonly #freezeTime: FreezeTime;
  #lease: Lease | undefined;
  #isKilled = false;
  #ledger: Ledger | undefined;
  #memoryLimitBytes: number | undefined;
  #seenCheckpointRequest = 0;
  #deadlineAt = Number.POSITIVE_INFINITY;
  #deadlineTimer: NodeJS.Timeout | undefined;

  constructor(context: WorkerContext, job: Job, token: string) {
    this.#context = context;
    this.#queued = new QueuedJob(job, token);
    this.#freezeTime = new FreezeTime(context.freezeRate);
    this.jobId = this.#queued.id;
    this.done = this.#live().finally(() => clearTimeout(this.#deadlineTimer));
  }

  /** Freezes the job and gives it back, by the notice's deadline in any way; of several notices' by the first. */
  move(notice: Notice): void {
    if (notice.deadlineAt !== null) this.#setDeadline(notice.deadlineAt);
    this.#wishes.set({ move: notice });
  }

  /** Takes a checkpoint; the program runs on. */
  checkpoint(why: string): void {
    this.#wishes.set({ checkpoint: why });
  }

  /** Kills the container and writes nothing more: the job is taken up again when its lock has expired. */
  kill(): void {
    this.#isKilled = true;
    this.#lease?.abandon('This worker was told to end at once.');
  }

  /** Looks whether somebody left a request for this job in its record. */
  async lookForRequests(): Promise<void> {
    const record = await readRecord(this.#context.redis, this.jobId);
    if (record?.cancelRequestedAt != null) this.#wishes.set({ cancel: true });
    if ((record?.checkpointRequestedAt ?? 0) <= this.#seenCheckpointRequest) return;
    this.#seenCheckpointRequest = record?.checkpointRequestedAt ?? 0;
    this.#wishes.set({ checkpoint: 'requested' });
  }

  describe(): Freezable {
    const bytes = this.#ledger?.checkpointBytes ?? this.#memoryLimitBytes ?? UNKNOWN_BYTES;
    const estimatedMs = this.#freezeTime.estimateMs(bytes);
    return { jobId: this.jobId, estimatedMs, unsavedMs: this.#ledger?.unsavedMs ?? 0 };
  }

  async #live(): Promise<void> {
    try {
      using lease = await Lease.open((durationMs) => this.#renewLock(durationMs), this.#context.leaseTerms);
      this.#lease = lease;
      if (this.#isKilled) this.kill();
      lease.signal.addEventListener('abort', () => this.#wishes.set({}));
      await this.#follow(await claimJob(this.#context, this.#queued, lease), lease);
    } catch (error) {
      await this.#failed(error);
    }
  }

  async #follow(claim: Claim, lease: Lease): Promise<void> {
    const queued = this.#queued;
    switch (claim.kind) {
      case 'gone':
        return this.#leaveGone(claim.record, lease);
      case 'staleEpoch':
        return lease.insist(() => queued.toFront());
      case 'unfit':
        this.#log('this CPU does not cover its checkpoint', { missing: claim.missing });
        return lease.insist(() => this.#passOn());
      case 'blocked':
        this.#log('the job cannot be looked at here', { reason: claim.error.message });
        await claim.ledger.blocked(`${this.#context.worker}: ${explain(claim.error)}`);
        // What is wrong with the store is so for every worker.
        return lease.insist(() => (claim.error instanceof FreezerError ? this.#passOn() : queued.toLater(LATER_MS)));
      case 'settled':
        await settle({ context: this.#context, queued, lease, ledger: claim.ledger }, claim.result);
        return;
      case 'mine':
        return this.#run(claim, lease);
    }
  }

  /** A job without a record was taken back by its producer; one with a final record has ended, and the queue does not know. */
  async #leaveGone(record: JobRecord | null, lease: Lease): Promise<void> {
    if (record?.result) return report(this.#queued, lease, record.result);
    await lease.insist(() => this.#queued.fail('The job was taken back.'));
  }

  /** To an idle worker that can run it, if there is one; if it comes back here, there was none. */
  async #passOn(): Promise<void> {
    if (this.#context.stepAside()) await this.#queued.toFront();
    else await this.#queued.toLater(LATER_MS);
  }

  async #run(claim: Claim & { kind: 'mine' }, lease: Lease): Promise<void> {
    const { ledger, data, history, before } = claim;
    const ending = { context: this.#context, queued: this.#queued, lease, ledger };
    this.#ledger = ledger;
    this.#memoryLimitBytes = data.spec.resources.memoryBytes;
    this.#seenCheckpointRequest = Math.max(this.#seenCheckpointRequest, before.checkpointRequestedAt ?? 0);
    const signal = AbortSignal.any([lease.signal, this.#wishes.leaveWanted]);
    const known = { pinnedImage: before.image, isEncrypted: before.checkpointIsEncrypted };
    const beginning = await begin({ ...ending, data, history, ...known, signal }).catch((error: unknown) => {
      if (lease.signal.aborted || !this.#wishes.leaveWanted.aborted) throw error;
      return { kind: 'left' } as const;
    });
    if (beginning.kind === 'left') return this.#leaveUnbegun(ledger, lease);
    if (beginning.kind === 'later') throw beginning.error;
    if (beginning.kind === 'never') {
      const { code, message } = beginning;
      await ledger.passedOver(beginning.passedOver);
      await settle(ending, resultWithoutEnd(this.#context, this.#queued, 'failed', { code, message }));
      return;
    }
    await using run = beginning.run;
    using _ = beginning.secrets?.keepFresh();
    await ledger.passedOver(beginning.passedOver);
    await ledger.began(run, beginning.thaw, beginning.passedOver);
    await lease.insist(() => this.#queued.keepInFront());
    this.#log(beginning.thaw ? 'thawed' : 'started', { checkpoint: beginning.thaw?.checkpoint.id });
    const thawedFrom = beginning.thaw?.checkpoint.id ?? null;
    const [wishes, freezeTime] = [this.#wishes, this.#freezeTime];
    await watchProgram({ ...ending, data, wishes, freezeTime, thawedFrom }, run);
  }

  async #leaveUnbegun(ledger: Ledger, lease: Lease): Promise<void> {
    const [context, queued] = [this.#context, this.#queued];
    if (this.#wishes.cancel) {
      await settle({ context, queued, lease, ledger }, cancelledResult(context, queued));
      return;
    }
    await ledger.notBegun();
    await lease.insist(() => queued.toFront());
    this.#log('given back before it began', {});
  }

  async #renewLock(durationMs: number): Promise<boolean> {
    const ours = await this.#queued.extendLock(durationMs);
    // Not awaited: a slow look at the record must not hold up the next renewal.
    if (ours) this.#lookAround().catch((error: unknown) => this.#log('cannot look for requests', { err: error }));
    return ours;
  }

  async #lookAround(): Promise<void> {
    if (this.#ledger === undefined) return;
    await this.#ledger.alive();
    await this.lookForRequests();
  }

  #setDeadline(deadlineAt: number): void {
    if (deadlineAt >= this.#deadlineAt) return;
    this.#deadlineAt = deadlineAt;
    const leftMs = deadlineAt - Date.now();
    const marginMs = Math.min(leftMs * DEADLINE_MARGIN.share, DEADLINE_MARGIN.longestMs);
    clearTimeout(this.#deadlineTimer);
    const delayMs = Math.min(Math.max(0, leftMs - marginMs), LONGEST_TIMER_MS);
    this.#deadlineTimer = setTimeout(() => this.#wishes.set({ deadlinePassed: true }), delayMs);
  }

  async #failed(error: unknown): Promise<void> {
    if (error instanceof FloeError && error.code === 'lost') {
      this.#log('no longer this worker’s', { reason: error.message });
      return;
    }
    const expected = error instanceof StoreError || error instanceof FreezerError;
    const level = expected ? 'warn' : 'error';
    this.#context.logger[level](
      { jobId: this.jobId, epoch: this.#queued.epoch, err: error },
      'the job cannot run here now',
    );
    try {
      // A run that had begun is left as it stands: the next one counts it as a crash, which has a budget.
      const why = explain(error);
      const unbegun = this.#ledger?.hasBegun === false ? this.#ledger : null;
      await unbegun?.notBegun(`${this.#context.worker}: ${why}`);
      // Of this machine, that is. What is wrong with the store is so for every worker.
      if (unbegun && error instanceof FreezerError) await this.#passOn();
      else await this.#queued.toLater(LATER_MS);
    } catch (next) {
      this.#log('could not be given back; its lock will expire', { err: next });
    }
  }

  #log(message: string, fields: Record<string, unknown>): void {
    this.#context.logger.info({ jobId: this.jobId, epoch: this.#queued.epoch, ...fields }, message);
  }
}

/** With what can be done about it: a job may wait for just that. */
function explain(error: unknown): string {
  if (error instanceof StoreError || error instanceof FreezerError) return `${error.message} ${error.remedy}`;
  return error instanceof Error ? error.message : String(error);
}
