/**
 * Everything that one run writes about itself: the job's record, the run's entry in the history, the events. One method
 * for each thing that can happen to a run, so that state, history and event change together and in one place.
 *
 * Every write is repeated until Redis takes it, and rejects with `lost` when the job is not ours any more.
 */
import type { FreezerError } from '../freezer/errors.ts';
import type { CheckpointSummary, Frozen, Run } from '../freezer/runtime.ts';
import {
  isFinal,
  type JobRecord,
  type JobResult,
  type OwnedRecord,
  type RecordChange,
  type RunRecord,
} from '../jobs/index.ts';
import type { Lease } from './lease.ts';
import { ProgressTeller, type StepBytes } from './progress.ts';
import type { QueuedJob } from './queuedJob.ts';

/** A checkpoint that cannot be thawed, and why. */
export interface PassedOver {
  readonly checkpoint: string;
  readonly message: string;
}

/** How the run before this one ended, if it vanished. */
export interface Crash {
  readonly run: RunRecord | null;
  readonly lostMs: number;
}

export class Ledger {
  readonly #owned: OwnedRecord;
  readonly #before: JobRecord;
  readonly #lease: Lease;
  readonly #worker: string;
  readonly #signs: boolean;
  readonly #progress: ProgressTeller;
  #crashes: number;
  #run: RunRecord | null = null;
  #checkpoint: CheckpointSummary | null = null;
  #isEncrypted = false;
  #begunAt = 0;
  #ranMs: number | null = null;
  #lostMs: number;

  /** `signs`: this worker has a key, and signs what it writes to the store. */
  constructor(
    queued: QueuedJob,
    owned: OwnedRecord,
    before: JobRecord,
    lease: Lease,
    { worker, signs }: { worker: string; signs: boolean },
  ) {
    this.#owned = owned;
    this.#before = before;
    this.#lease = lease;
    this.#worker = worker;
    this.#signs = signs;
    this.#crashes = before.crashes;
    this.#lostMs = before.lostMs;
    this.#progress = new ProgressTeller((progress) => {
      // For people only: one that is lost, or that comes while Redis is away, is made up for by the next.
      if (lease.signal.aborted) return;
      owned
        .write({ progress: JSON.stringify(progress) })
        .then(
          () => queued.showProgress(progress),
          () => undefined,
        )
        .catch(() => undefined);
    });
  }

  /** How often its program had failed by itself before this run. */
  get failures(): number {
    return this.#before.failures;
  }

  get crashes(): number {
    return this.#crashes;
  }

  /** Whether its checkpoints stay when it has ended. */
  get keepsCheckpoints(): boolean {
    return this.#before.keepsCheckpoints;
  }

  /** Whether its program has moved. */
  get hasBegun(): boolean {
    return this.#run !== null;
  }

  /** How long the job's program has run in all its runs, frozen time excluded. */
  get ranMs(): number {
    return this.#before.ranMs + (this.#ranMs ?? this.#runningMs());
  }

  /** Work that would be lost if the run ended now without a checkpoint. */
  get unsavedMs(): number {
    return this.#run === null ? 0 : Math.max(0, Date.now() - this.#savedAt(this.#run));
  }

  /** Size of the newest checkpoint, which is the best guess for that of the next; null before the first. */
  get checkpointBytes(): number | null {
    return this.#checkpoint === null ? null : this.#checkpoint.memoryBytes + this.#checkpoint.fileBytes;
  }

  report(bytes: StepBytes): void {
    this.#progress.report(bytes);
  }

  /** With each renewal of the lock: from here on work counts as lost if the worker vanishes. */
  async alive(): Promise<void> {
    await this.#owned.write({ aliveAt: Date.now(), ranMs: this.ranMs });
  }

  async crashed(crash: Crash, state: 'frozen' | 'queued'): Promise<void> {
    this.#crashes += 1;
    this.#lostMs += crash.lostMs;
    const { run, lostMs } = crash;
    const event = { type: 'crashed', worker: run?.worker ?? this.#before.worker ?? '', lostMs };
    const change = { ...RELEASED, state, crashes: this.#crashes, lostMs: this.#lostMs };
    await this.#write(change, run ? { run, event } : { event });
  }

  /** Waits for a worker that it fits; its patience counts from the first time. */
  async waitsForCpu(): Promise<void> {
    await this.#write({ state: 'frozen', worker: null, frozenSince: this.#before.frozenSince ?? Date.now() });
  }

  async beginning(state: 'thawing' | 'running'): Promise<void> {
    const signedFrom = this.#before.signedFrom ?? (this.#signs ? this.#owned.epoch : null);
    await this.#write({ state, worker: this.#worker, aliveAt: Date.now(), signedFrom });
  }

  /** Nothing can be said of the job here, so nothing else changes. */
  async blocked(problem: string): Promise<void> {
    await this.#write({ problem });
  }

  async passedOver(checkpoints: readonly PassedOver[]): Promise<void> {
    for (const one of checkpoints) await this.#write({}, { event: { type: 'passedOver', ...one } });
  }

  /** The program moves. `thaw` is null when it began from the beginning. */
  async began(
    run: Run,
    thaw: { checkpoint: CheckpointSummary; tookMs: number } | null,
    passedOver: readonly PassedOver[],
  ): Promise<void> {
    this.#begunAt = performance.now();
    this.#checkpoint = thaw?.checkpoint ?? null;
    // What was known stays known: the store's word that a checkpoint is not encrypted is anybody's.
    this.#isEncrypted = thaw !== null && (thaw.checkpoint.isEncrypted || this.#before.checkpointIsEncrypted);
    this.#run = {
      epoch: this.#owned.epoch,
      worker: this.#worker,
      startedAt: Date.now(),
      endedAt: null,
      end: null,
      thawedFrom: thaw?.checkpoint.id ?? null,
      passedOver: passedOver.map(({ message }) => message),
      thawMs: thaw ? Math.round(thaw.tookMs) : null,
      logStart: { stdout: run.logStart.stdout, stderr: run.logStart.stderr },
      checkpoints: 0,
      frozenMs: 0,
      bytesSent: 0,
      lostMs: 0,
    };
    const change = {
      ...RUNNING,
      ...this.#checkpointFields(),
      aliveAt: Date.now(),
      afresh: null,
      image: run.image,
      frozenSince: null,
      problem: null,
    };
    const event = thaw
      ? { type: 'thawed', worker: this.#worker, checkpoint: thaw.checkpoint.id, thawMs: thaw.tookMs }
      : { type: 'started', worker: this.#worker };
    await this.#write(change, { run: this.#run, event });
  }

  async freezing(why: string): Promise<void> {
    await this.#write({ state: 'freezing' }, { event: { type: 'freezing', worker: this.#worker, why } });
  }

  /** A checkpoint was committed and the program runs on. */
  async checkpointed(frozen: Frozen): Promise<void> {
    this.#count(frozen);
    await this.#write(
      { ...RUNNING, ...this.#checkpointFields(), problem: null },
      this.#entry(this.#frozenEvent('checkpointed', frozen)),
    );
  }

  /** The program runs on. What is in the way is its problem until a checkpoint has been committed. */
  async freezeFailed({ code, message, remedy }: FreezerError): Promise<void> {
    const event = { type: 'freezeFailed', worker: this.#worker, code, message };
    await this.#write({ ...RUNNING, problem: `${message} ${remedy}` }, { event });
  }

  /** The same, seen before it was tried. */
  async cannotFreeze({ message, remedy }: FreezerError): Promise<void> {
    await this.#write({ problem: `${message} ${remedy}` });
  }

  /** A checkpoint was committed, and the job goes back to the queue. */
  async frozen(frozen: Frozen): Promise<void> {
    this.#count(frozen);
    this.#close('frozen', 0);
    const change = {
      ...RELEASED,
      ...this.#checkpointFields(),
      problem: null,
      state: 'frozen',
      frozenSince: Date.now(),
      ranMs: this.ranMs,
    };
    await this.#write(change as RecordChange, this.#entry(this.#frozenEvent('frozen', frozen)));
  }

  /** The run ended here without a checkpoint: by decision (`stopped`), or because its container went away (`crashed`). */
  async cutShort(end: 'stopped' | 'crashed', message: string): Promise<void> {
    const lostMs = this.unsavedMs;
    this.#close(end, lostMs);
    this.#lostMs += lostMs;
    if (end === 'crashed') this.#crashes += 1;
    const event = { type: end, worker: this.#worker, lostMs, ...(end === 'stopped' ? { message } : {}) };
    const state = this.#checkpoint ? 'frozen' : 'queued';
    const counts = { lostMs: this.#lostMs, crashes: this.#crashes, ranMs: this.ranMs };
    const change = { ...RELEASED, ...counts, state, frozenSince: this.#checkpoint ? Date.now() : null };
    await this.#write(change as RecordChange, this.#entry(event));
  }

  /** Back in the queue before its program moved: nothing was lost. `problem` is why, where it is not that the worker leaves. */
  async notBegun(problem: string | null = null): Promise<void> {
    const state = this.#before.checkpoint === null ? 'queued' : 'frozen';
    await this.#write({ ...RELEASED, state, problem });
  }

  /** The program failed by itself, and will be started again from the beginning. */
  async attemptFailed(message: string): Promise<void> {
    this.#close('failed', 0);
    const failures = this.#before.failures + 1;
    const forgotten = { checkpoint: null, checkpointAt: null, checkpointIsEncrypted: null, cpuFeatures: null };
    const counts = { failures, ranMs: this.ranMs };
    const change = { ...RELEASED, ...forgotten, ...counts, problem: null, state: 'queued', afresh: '1' };
    await this.#write(change as RecordChange, this.#entry({ type: 'attemptFailed', message, failures }));
  }

  /** The end for good, whoever committed the result. */
  async ended(result: JobResult): Promise<void> {
    if (this.#run?.end === null) this.#close(END_OF[result.outcome], 0);
    const finishedAt = Date.parse(result.finishedAt);
    const change = {
      ...RELEASED,
      problem: null,
      state: result.outcome,
      finishedAt,
      ranMs: this.ranMs,
      result: JSON.stringify(result),
    };
    const failures = this.#before.failures + (result.outcome === 'failed' && result.end ? 1 : 0);
    const event = { type: result.outcome, message: describeEnd(result) };
    if (!isFinal(this.#before.state)) await this.#write({ ...change, failures } as RecordChange, this.#entry(event));
  }

  #runningMs(): number {
    return this.#run === null ? 0 : Math.max(0, Math.round(performance.now() - this.#begunAt - this.#run.frozenMs));
  }

  #savedAt(run: RunRecord): number {
    return Math.max(this.#checkpoint?.frozenAt ?? 0, run.startedAt);
  }

  #checkpointFields(): RecordChange {
    const checkpoint = this.#checkpoint;
    return {
      checkpoint: checkpoint?.id ?? null,
      checkpointAt: checkpoint?.frozenAt ?? null,
      cpuFeatures: checkpoint ? JSON.stringify(checkpoint.cpuFeatures) : null,
      checkpointIsEncrypted: this.#isEncrypted ? '1' : null,
    };
  }

  #count({ checkpoint, frozenMs }: Frozen): void {
    this.#checkpoint = checkpoint;
    this.#isEncrypted = checkpoint.isEncrypted;
    const run = this.#run;
    if (run === null) return;
    const { checkpoints, bytesSent } = run;
    const sum = { checkpoints: checkpoints + 1, bytesSent: bytesSent + checkpoint.sentBytes };
    this.#run = { ...run, ...sum, frozenMs: run.frozenMs + frozenMs };
  }

  #close(end: NonNullable<RunRecord['end']>, lostMs: number): void {
    this.#ranMs = this.#runningMs();
    if (this.#run) this.#run = { ...this.#run, end, lostMs, endedAt: Date.now() };
  }

  #frozenEvent(type: 'checkpointed' | 'frozen', { checkpoint, frozenMs }: Frozen) {
    return { type, worker: this.#worker, checkpoint: checkpoint.id, frozenMs, bytesSent: checkpoint.sentBytes };
  }

  #entry<E>(event: E): { event: E; run?: RunRecord } {
    return this.#run ? { run: this.#run, event } : { event };
  }

  async #write(change: RecordChange, also: Parameters<OwnedRecord['write']>[1] = {}): Promise<void> {
    await this.#lease.insist(() => this.#owned.write(change, also));
  }
}

const RUNNING = { state: 'running', progress: null } as const;
const RELEASED = { worker: null, progress: null } as const;
const END_OF = { succeeded: 'finished', failed: 'failed', cancelled: 'cancelled' } as const;

/** One sentence for people. */
export function describeEnd(result: Pick<JobResult, 'end' | 'reason' | 'outcome'>): string {
  if (result.reason) return result.reason.message;
  if (result.end?.signal != null) return `The program was killed by signal ${result.end.signal}.`;
  return `The program exited with ${result.end?.exitCode ?? 0}.`;
}
