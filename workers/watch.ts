/**
 * The run of a job from the moment its program moves. It waits for what comes, does one thing at a time, and the more
 * urgent first:
 *
 *   the lease is lost        killed, nothing written (thrown as `lost`)
 *   the program has ended    what it left running is killed; outputs and logs kept, result; or another attempt; or, if its
 *                            container went away, to the front of the queue from its last checkpoint
 *   too much on the disk     killed; logs kept, result; or, where the disk is about to be full for all, to the front of the queue
 *   cancel, time out         SIGTERM, 10 s later SIGKILL; result
 *   the deadline has passed  killed, to the front of the queue from its last checkpoint
 *   move                     frozen, to the front of the queue; if that fails the program runs on and it is tried again
 *   checkpoint               frozen and continued; if that fails the program runs on and the old checkpoint stands
 */
import { FreezerError, type Frozen, type ProgramEnd, type Run } from '../freezer/index.ts';
import type { JobData, JobResult } from '../jobs/index.ts';
import { StoreError } from '../store/store.ts';
import { cancelledResult, crashBudgetMessage } from './claim.ts';
import { checkpointPlace } from './context.ts';
import type { DiskExceeded } from './diskWatch.ts';
import { EarlyWarning } from './earlyWarning.ts';
import { inTurn } from './inTurn.ts';
import { keepLogs, keepOutputs } from './keep.ts';
import type { InsistOptions } from './lease.ts';
import { describeEnd } from './ledger.ts';
import { LogShipper } from './logShipper.ts';
import { CANNOT_START, resultOfEnd, resultWithoutEnd } from './result.ts';
import { Retention } from './retention.ts';
import { type Ending, isOfFiles, settle, untilStored } from './settle.ts';
import { LONGEST_TIMER_MS } from './timer.ts';
import type { FreezeTime } from './triage.ts';
import type { Wishes } from './wishes.ts';

const SIGTERM = 15;
const POLITE_END_MS = 10_000;
const FREEZE_PAUSE_MS = { first: 1000, longest: 30_000 };

export interface WatchOrder extends Ending {
  readonly data: JobData;
  readonly wishes: Wishes;
  readonly freezeTime: FreezeTime;
  /** The checkpoint that the run was thawed from. */
  readonly thawedFrom: string | null;
}

/** Resolves when the job has been given back or has ended. */
export async function watchProgram(order: WatchOrder, run: Run): Promise<void> {
  using watch = new Watch(order, run);
  await watch.untilOver();
}

class Watch implements Disposable {
  readonly #order: WatchOrder;
  readonly #run: Run;
  readonly #shipper: LogShipper;
  readonly #retention: Retention;
  readonly #earlyWarning: EarlyWarning;
  readonly #disk: Disposable;
  #freezeFailures = 0;
  #isFreezing = false;
  #checkpointTimer: NodeJS.Timeout | undefined;
  #timeoutTimer: NodeJS.Timeout | undefined;

  constructor(order: WatchOrder, run: Run) {
    const { context, queued, lease, wishes, data } = order;
    this.#order = order;
    this.#run = run;
    this.#shipper = new LogShipper(context, queued, run, lease, (error) =>
      this.#log('its log cannot be shown', { err: error }),
    );
    this.#retention = new Retention({ context, queued, keep: data.spec.checkpoint.keep, signal: lease.signal });
    this.#retention.began(order.thawedFrom);
    this.#earlyWarning = new EarlyWarning(order, run);
    this.#disk = context.disk.watch({
      jobId: queued.id,
      directory: run.files,
      diskBytes: data.spec.resources.diskBytes,
      moreBytes: [async () => (await run.layerSizeBytes?.(lease.signal)) ?? 0, () => run.unlinkedBytes()],
      onExceeded: (disk) => wishes.set({ disk }),
    });
    void run.ended.then((end) => wishes.set({ end }));
    this.#scheduleCheckpoint();
    this.#scheduleTimeout();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#checkpointTimer);
    clearTimeout(this.#timeoutTimer);
    this.#disk[Symbol.dispose]();
    this.#retention[Symbol.dispose]();
    this.#earlyWarning[Symbol.dispose]();
  }

  async untilOver(): Promise<void> {
    const { wishes, lease } = this.#order;
    for (;;) {
      lease.signal.throwIfAborted();
      if (wishes.end) return this.#ended(wishes.end);
      if (wishes.disk) return this.#diskExceeded(wishes.disk);
      if (wishes.cancel) return this.#cancel();
      if (wishes.timedOut) return this.#timeOut();
      if (wishes.deadlinePassed) return this.#stop();
      if (wishes.move) {
        if (await this.#move(wishes.move.source)) return;
      } else if (wishes.checkpoint !== null) await this.#checkpoint(wishes.checkpoint);
      else await wishes.changed();
    }
  }

  async #ended(end: ProgramEnd): Promise<void> {
    const { context, queued, ledger, data, lease } = this.#order;
    // What it left running could put a link in the place of a file while that is read, and this process may read any file.
    await this.#run.kill();
    if (end.kind === 'lost') return this.#containerLost(end.reason);
    const result = resultOfEnd(context, queued, end);
    const mayFailAgain = result.reason?.code !== CANNOT_START && queued.mayFailAgain(ledger.failures);
    const isLast = result.outcome === 'succeeded' || !mayFailAgain;
    if (isLast) return this.#conclude(result, { outputs: true });
    const message = describeEnd(result);
    await this.#shipper.finish();
    await ledger.attemptFailed(message);
    await lease.insist(() => queued.retry(data.spec, message));
    this.#log('the program failed and will be started again', { message });
  }

  /** Not the program's doing: the machine ran out of memory, the agent died. It counts as a crash of the worker. */
  async #containerLost(reason: string): Promise<void> {
    const { context, queued, ledger, data, lease } = this.#order;
    await this.#shipper.finish();
    await ledger.cutShort('crashed', reason);
    this.#log('the container went away', { reason, crashes: ledger.crashes });
    if (ledger.crashes <= data.spec.crashBudget) return lease.insist(() => queued.toFront());
    const why = { code: 'crashBudget', message: `${crashBudgetMessage(ledger.crashes)} ${reason}` };
    const logs = await lease.insist(() => keepLogs(context, queued, this.#run, lease), untilStored(context, queued));
    await settle(this.#order, { ...resultWithoutEnd(context, queued, 'failed', why), logs });
  }

  /** No outputs: they are what was too much, or in the midst of it. */
  async #diskExceeded({ kind, message }: DiskExceeded): Promise<void> {
    const { context, queued } = this.#order;
    await this.#run.kill();
    if (kind === 'low') return this.#containerLost(message);
    const why = { code: 'diskExceeded', message };
    await this.#conclude(resultWithoutEnd(context, queued, 'failed', why), { outputs: false });
  }

  async #cancel(): Promise<void> {
    await this.#endPolitely();
    await this.#conclude(cancelledResult(this.#order.context, this.#order.queued), { outputs: false });
  }

  async #timeOut(): Promise<void> {
    const { context, queued, data } = this.#order;
    await this.#endPolitely();
    const message = `It ran longer than its timeoutMs, ${data.spec.timeoutMs}.`;
    await this.#conclude(resultWithoutEnd(context, queued, 'failed', { code: 'timedOut', message }), { outputs: true });
  }

  async #endPolitely(): Promise<void> {
    this.#run.signal(SIGTERM);
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, POLITE_END_MS);
    await Promise.race([this.#run.ended, late.promise]);
    clearTimeout(timer);
    await this.#run.kill();
  }

  async #stop(): Promise<void> {
    await this.#run.kill();
    await this.#giveBackUnsaved('The machine went away before a checkpoint could be committed.');
  }

  async #giveBackUnsaved(message: string): Promise<void> {
    const { queued, ledger, lease } = this.#order;
    await this.#shipper.finish();
    await ledger.cutShort('stopped', message);
    await lease.insist(() => queued.toFront());
    this.#log('stopped without a new checkpoint and given back', { message });
  }

  /** Keeps what the job leaves, and ends it. Its container must be gone: nothing may change what is being read. */
  async #conclude(result: JobResult, keep: { outputs: boolean }): Promise<void> {
    const { context, queued, lease, wishes } = this.#order;
    const insist = untilStored(context, queued, wishes.deadline);
    await this.#shipper.finish();
    let kept: Partial<JobResult>;
    try {
      const outputs = keep.outputs ? await this.#keepOutputs(result, insist) : {};
      const logs = await lease.insist(() => keepLogs(context, queued, this.#run, lease), insist);
      kept = { ...outputs, logs };
    } catch (error) {
      if (lease.signal.aborted || !wishes.deadline.aborted) throw error;
      return this.#giveBackUnsaved('The machine went away before the store took what the job left.');
    }
    const committed = await settle(this.#order, { ...result, ...kept, finishedAt: new Date().toISOString() });
    this.#log('the job ended', { outcome: committed.outcome, end: describeEnd(committed) });
  }

  /** A program whose files nobody can read has not succeeded: told at once, since no other try would go better. */
  async #keepOutputs(result: JobResult, insist: InsistOptions): Promise<Partial<JobResult>> {
    const { context, queued, ledger, data, lease, wishes } = this.#order;
    const over = AbortSignal.any([lease.signal, wishes.deadline, wishes.cancelWanted]);
    const keep = () => keepOutputs(context, queued, this.#run, data.spec, ledger, over);
    try {
      return { outputs: await lease.insist(keep, { ...insist, signal: over }) };
    } catch (error) {
      // Patterns and files are the job's own, and can take any time.
      if (wishes.cancel && !lease.signal.aborted) return cancelledResult(context, queued);
      if (!(error instanceof StoreError && isOfFiles(error))) throw error;
      const message = `Its outputs could not be kept: ${error.message} ${error.remedy}`;
      return { outcome: 'failed', reason: result.reason ?? { code: 'outputsUnreadable', message } };
    }
  }

  /** True when the job has been given back. */
  async #move(why: string): Promise<boolean> {
    const { queued, ledger, lease, wishes } = this.#order;
    await ledger.freezing(why);
    const frozen = await this.#freeze('stop', AbortSignal.any([lease.signal, wishes.killWanted]));
    if (frozen === null) {
      this.#scheduleTimeout();
      await wishes.changed(Math.min(FREEZE_PAUSE_MS.first * 2 ** this.#freezeFailures++, FREEZE_PAUSE_MS.longest));
      return false;
    }
    await this.#shipper.finish();
    await ledger.frozen(frozen);
    await lease.insist(() => queued.toFront());
    this.#log('frozen and given back', { checkpoint: frozen.checkpoint.id, frozenMs: frozen.frozenMs, why });
    return true;
  }

  async #checkpoint(why: string): Promise<void> {
    const { ledger, lease, wishes } = this.#order;
    wishes.checkpoint = null;
    await ledger.freezing(why);
    const frozen = await this.#freeze(
      'continue',
      AbortSignal.any([lease.signal, wishes.killWanted, wishes.leaveWanted]),
    );
    if (frozen !== null) {
      await ledger.checkpointed(frozen);
      this.#retention.committed(frozen.checkpoint.id);
      this.#log('checkpointed', { checkpoint: frozen.checkpoint.id, frozenMs: frozen.frozenMs, why });
    }
    this.#scheduleCheckpoint();
    this.#scheduleTimeout();
  }

  /** Null when no checkpoint was committed: the program runs on or has ended, and the checkpoint before still stands. */
  async #freeze(afterwards: 'stop' | 'continue', signal: AbortSignal): Promise<Frozen | null> {
    const { context, queued, ledger, lease, wishes, freezeTime } = this.#order;
    const place = checkpointPlace(context, queued.id);
    const onProgress = ledger.report.bind(ledger);
    try {
      return await inTurn(context.freezes, AbortSignal.any([signal, wishes.ended]), async () => {
        this.#isFreezing = true;
        this.#earlyWarning[Symbol.dispose]();
        // Known before only: afterwards there is one in any way.
        const isIncrement = ledger.checkpointBytes !== null;
        const beganAt = performance.now();
        const { bufferBytes } = context;
        const order = { place, epoch: queued.epoch, afterwards, signal, onProgress, bufferBytes };
        const frozen = await this.#run.freeze(order);
        const { memoryBytes, fileBytes } = frozen.checkpoint;
        const tookMs = performance.now() - beganAt;
        freezeTime.measure({ bytes: memoryBytes + fileBytes, tookMs, isIncrement });
        return frozen;
      });
    } catch (error) {
      lease.signal.throwIfAborted();
      if (signal.aborted || wishes.end) return null; // something more urgent came up, and is seen to next
      if (!(error instanceof FreezerError)) throw error;
      if (error.code === 'ended' || error.code === 'lost') {
        await this.#run.ended;
        return null;
      }
      await ledger.freezeFailed(error);
      this.#log('could not be frozen; it runs on', { code: error.code, message: error.message, remedy: error.remedy });
      return null;
    } finally {
      this.#isFreezing = false;
    }
  }

  #scheduleCheckpoint(): void {
    const { everyMs } = this.#order.data.spec.checkpoint;
    clearTimeout(this.#checkpointTimer);
    if (everyMs === 0) return;
    const take = () => this.#order.wishes.set({ checkpoint: 'periodic' });
    this.#checkpointTimer = setTimeout(take, Math.min(everyMs, LONGEST_TIMER_MS));
  }

  /**
   * Looks again when the time could be over: while frozen a job does not run, and that does not count. How long a freeze
   * takes is known when it returns: that calls this again.
   */
  #scheduleTimeout(): void {
    const { data, ledger, wishes } = this.#order;
    clearTimeout(this.#timeoutTimer);
    if (data.spec.timeoutMs === 0 || this.#isFreezing) return;
    const leftMs = data.spec.timeoutMs - ledger.ranMs;
    if (leftMs <= 0) wishes.set({ timedOut: true });
    else this.#timeoutTimer = setTimeout(() => this.#scheduleTimeout(), Math.min(leftMs, LONGEST_TIMER_MS));
  }

  #log(message: string, fields: Record<string, unknown>): void {
    const { context, queued } = this.#order;
    context.logger.info({ jobId: queued.id, epoch: queued.epoch, ...fields }, message);
  }
}
