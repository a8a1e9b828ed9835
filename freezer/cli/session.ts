/**
 * A program that runs, until one of these ends it:
 *
 *   the program itself                            → `ended`
 *   a freeze, asked for by a signal or a command  → `frozen`; one that fails lets the program run on
 *   a second Ctrl-C while it is being frozen      → `interrupted`: the freeze is given up and the program killed
 *   another start that claimed it                 → `overtaken`: the program is killed, for nobody would continue it from here
 */
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { Store } from '../../store/store.ts';
import type { CheckpointPlace, CheckpointSummary, FreezeOptions, Frozen, ProgramEnd } from '../runtime.ts';
import type { Begun } from './begin.ts';
import { candidates, prune } from './checkpoints.ts';
import { type Claim, claimAfter } from './claims.ts';
import { CommandError } from './commandError.ts';
import { describeStep, formatBytes, formatDuration, sizeOf } from './format.ts';
import { say } from './output.ts';

export type Outcome =
  | { kind: 'ended'; end: ProgramEnd }
  | { kind: 'frozen'; text: string }
  | { kind: 'interrupted' }
  | { kind: 'overtaken'; by: Claim };

type Afterwards = FreezeOptions['afterwards'];

/** How soon a start learns that another one has taken over. */
const LOOK_FOR_CLAIM_EVERY_MS = 10_000;
const REPORT_EVERY_MS = 1000;

export class Session {
  readonly outcome: Promise<Outcome>;
  readonly #begun: Begun;
  readonly #store: Store;
  readonly #place: CheckpointPlace;
  readonly #end = Promise.withResolvers<Outcome>();
  readonly #over = new AbortController();
  #newest: CheckpointSummary | null;
  #freezing: AbortController | null = null;

  constructor(begun: Begun, store: Store, place: CheckpointPlace) {
    this.#begun = begun;
    this.#store = store;
    this.#place = place;
    this.#newest = begun.thawedFrom;
    this.outcome = this.#end.promise;
    void this.outcome.then(() => this.#over.abort());
    void begun.run.ended.then((end) => this.#programEnded(end));
    void this.#watchForClaims();
  }

  /** The newest checkpoint that the program could be continued from. */
  get newestCheckpoint(): CheckpointSummary | null {
    return this.#newest;
  }

  get isFreezing(): boolean {
    return this.#freezing !== null;
  }

  /** Takes a checkpoint and resolves to what there is to say of it. Rejects when none was taken; the program then runs on. */
  async freeze(afterwards: Afterwards, onProgress: (text: string) => void): Promise<string> {
    if (this.#freezing) throw new CommandError('conflict', 'It is being frozen already.', 'Wait for that.');
    this.#freezing = new AbortController();
    try {
      await this.#refuseIfOvertaken();
      const { signal } = this.#freezing;
      const onStep = atMostEvery(REPORT_EVERY_MS, onProgress);
      const frozen = await this.#begun.run.freeze({
        ...{ place: this.#place, epoch: this.#begun.claim.epoch, afterwards, signal },
        onProgress: (progress) => onStep(describeStep(progress)),
      });
      this.#newest = frozen.checkpoint;
      // A claim that was made meanwhile does not know of this checkpoint. One that cannot be asked for is not there: the commit stands.
      await this.#refuseIfOvertaken(() => null);
      const text = describe(frozen, afterwards);
      await this.#prune();
      if (afterwards === 'stop') this.#end.resolve({ kind: 'frozen', text });
      return text;
    } finally {
      this.#freezing = null;
    }
  }

  /** Gives up the freeze that is under way, and the program with it. */
  interrupt(): void {
    if (!this.#freezing) return;
    this.#end.resolve({ kind: 'interrupted' });
    // Both at once: were CRIU let go of first, the program would write what the next start writes again.
    void this.#begun.run.kill();
    this.#freezing.abort();
  }

  /** Passes a signal on to the program. */
  forward(signal: NodeJS.Signals): void {
    this.#begun.run.signal(constants.signals[signal]);
  }

  #programEnded(end: ProgramEnd): void {
    // Frozen: what the freeze comes to is told by itself.
    if (end.kind === 'lost' && end.reason === 'frozen') return;
    this.#end.resolve({ kind: 'ended', end });
  }

  async #watchForClaims(): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      await delay(LOOK_FOR_CLAIM_EVERY_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      // A store that does not answer is no news; a freeze will tell.
      const by = await claimAfter(this.#store, this.#begun.claim).catch(() => null);
      if (by) this.#overtaken(by);
    }
  }

  async #refuseIfOvertaken(
    onFailure = (error: unknown): null => {
      throw error;
    },
  ): Promise<void> {
    const by = await claimAfter(this.#store, this.#begun.claim).catch(onFailure);
    if (!by) return;
    this.#overtaken(by);
    throw overtakenError(by);
  }

  #overtaken(by: Claim): void {
    this.#end.resolve({ kind: 'overtaken', by });
    void this.#begun.run.kill();
  }

  /** A failure costs space and nothing else. */
  async #prune(): Promise<void> {
    const { claim, continues } = this.#begun;
    try {
      await prune(this.#store, claim.epoch, await candidates(this.#store, { ...claim, continues: [...continues] }));
    } catch (error) {
      say(`Older checkpoints could not be removed: ${error instanceof Error ? error.message : error}`);
    }
  }
}

export function overtakenError({ host, epoch }: Claim): CommandError {
  const what = `Another \`freezer start\` (number ${epoch}, on ${host}) has taken the program over.`;
  return new CommandError('conflict', what, 'Let it run there; what ran here since is given up.');
}

function describe({ checkpoint, frozenMs }: Frozen, afterwards: Afterwards): string {
  const sent = `${sizeOf(checkpoint)}, ${formatBytes(checkpoint.sentBytes)} sent`;
  const stood = `the program stood still for ${formatDuration(frozenMs)}`;
  if (afterwards === 'continue') return `Checkpoint ${checkpoint.id} taken (${sent}); ${stood} and goes on`;
  return `Frozen: checkpoint ${checkpoint.id} (${sent}); ${stood}. The next start continues it`;
}

function atMostEvery(intervalMs: number, report: (text: string) => void): (text: string) => void {
  let reportedAt = performance.now();
  return (text) => {
    if (performance.now() - reportedAt < intervalMs) return;
    reportedAt = performance.now();
    report(text);
  };
}
