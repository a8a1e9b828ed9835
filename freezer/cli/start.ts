/** `freezer start`: starts or thaws the program, shows what it writes, and ends as it ends. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { openStore, type Store } from '../../store/index.ts';
import { keepSpareEngine } from '../engine/spare.ts';
import { FreezerError } from '../errors.ts';
import { FULL_ACCESS } from '../process/machineAccess.ts';
import { openProcessRuntime } from '../process/runtime.ts';
import { chooseImagesDirectory } from '../run/imagesPlace.ts';
import type { ProgramEnd, RenewLease, ThawMode } from '../runtime.ts';
import { type Begun, begin, makeClaim } from './begin.ts';
import { PREFIX, removeAll } from './checkpoints.ts';
import { createClaim, forgetClaimsBefore } from './claims.ts';
import { CommandError } from './commandError.ts';
import { ControlServer } from './control.ts';
import { describeFailure } from './edge.ts';
import { ignoredVariables, programEnvironment } from './environment.ts';
import { EXIT } from './exitCodes.ts';
import { formatTime, quoted } from './format.ts';
import { keepResults } from './keepResults.ts';
import { say } from './output.ts';
import { Relay } from './relay.ts';
import { type Outcome, overtakenError, Session } from './session.ts';
import { type CommonFlags, finishCommand, readSettings } from './settings.ts';
import { freezeSignals, listen } from './signals.ts';

interface StartFlags extends CommonFlags {
  readonly volume: string[];
  readonly env: string[];
  readonly workspace?: string;
  readonly afresh?: boolean;
  readonly keep?: boolean;
  readonly raw?: boolean;
  readonly thaw: ThawMode;
  readonly frozenExitCode: number;
}

/** The container of a freezer that hangs ends itself after this time. One that is killed takes it along at once. */
const LEASE_MS = 120_000;
const THAW_MODES: readonly ThawMode[] = ['auto', 'eager', 'lazy'];
/** The machine's folder that the workspace begins as where there is one: in an image, `COPY … /workspace`. */
const USUAL_WORKSPACE = '/workspace';

export function addStart(program: Command): void {
  const collect = (word: string, before: string[]) => [...before, word];
  const command = program
    .command('start')
    .description('Start a program, or continue it where it was frozen, and end as it ends.')
    .argument('[command...]', 'program and arguments; not needed where there is a checkpoint')
    .passThroughOptions()
    .option('--volume <path>', 'a folder that moves with the program; may be repeated', collect, [])
    .option('--workspace <folder>', 'what /workspace begins as and becomes (default: /workspace where there is one)')
    .option(
      '-e, --env <NAME[=VALUE]>',
      'environment of the program, also what is withheld; may be repeated',
      collect,
      [],
    )
    .option('--afresh', 'start from the beginning, even where there are checkpoints')
    .option('--keep', 'keep the checkpoints when the program has ended: the next start goes back to the newest')
    .option('--raw', 'what the program writes as it is, also on a terminal, which would obey it')
    .addOption(
      new Option('--thaw <mode>', 'lazy: before its memory is there; eager: with all of it; auto: by its size')
        .choices(THAW_MODES)
        .default('auto'),
    )
    .addOption(
      new Option('--frozen-exit-code <code>', 'exit code when the program was frozen')
        .default(EXIT.frozen)
        .argParser(parseExitCode),
    )
    .action(start);
  finishCommand(command, { store: true, name: true }, [
    'freezer start sample',
    'freezer start --store s3://bucket/prefix --volume /data -- ./simulate --steps 1000000',
    'S3=s3://bucket/prefix freezer start sample',
  ]);
}

function parseExitCode(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) < 256) return Number(text);
  throw new CommandError('usage', `--frozen-exit-code: "${text}" is no exit code.`, 'Give 0 to 255.');
}

async function start(command: string[], flags: StartFlags): Promise<void> {
  const settings = readSettings(flags);
  const freezing = freezeSignals(process.env);
  for (const name of ignoredVariables(process.env)) say(`${name} has no meaning here and is ignored`);
  await using store = await openStore(settings.storeUrl);
  const { storeUrl, encryptionKeys } = settings;
  const place = { storeUrl, encryptionKeys, prefix: PREFIX, name: settings.name };
  const imagesDirectory = await chooseImagesDirectory(settings.imagesDirectory, encryptionKeys);
  const runtime = openProcessRuntime({ ...settings, imagesDirectory, access: FULL_ACCESS });
  const progress = new Progress(command);
  await using _control = await ControlServer.open(settings.stateDirectory, settings.name, progress.answer);
  using _signals = listen(freezing, progress);
  void keepSpareEngine({ storeUrl });
  await Promise.all([runtime.check(), store.check({ signal: progress.signal })]);
  using lease = new StandingLease();
  const workspace = flags.workspace ? resolve(flags.workspace) : existsSync(USUAL_WORKSPACE) ? USUAL_WORKSPACE : null;
  const begun = await begin({
    ...{ store, place, runtime, workspace, afresh: flags.afresh ?? false, thaw: flags.thaw },
    program: { command, env: programEnvironment(process.env, flags.env), volumes: flags.volume },
    attachLease: lease.attach,
    signal: progress.signal,
    onStep: progress.onStep,
  }).catch((error: unknown) => {
    throw progress.signal.aborted ? progress.signal.reason : error;
  });
  await using run = begun.run;
  const relay = new Relay(run, { raw: flags.raw ?? false });
  const session = new Session(begun, store, place);
  progress.running(session);
  const outcome = await session.outcome;
  // Before anything is copied: what the program left running could put a link in the place of a file, and this process may read any.
  await run.kill();
  await relay.finish();
  const { stateDirectory } = settings;
  const rest = { store, workspace, stateDirectory, keep: flags.keep ?? false };
  process.exitCode = await conclude(outcome, begun, session, rest, flags);
}

/** Says how it came out, and resolves to the exit code. */
async function conclude(
  outcome: Outcome,
  begun: Begun,
  session: Session,
  rest: { store: Store; workspace: string | null; stateDirectory: string; keep: boolean },
  { frozenExitCode }: StartFlags,
): Promise<number> {
  switch (outcome.kind) {
    case 'frozen':
      say(outcome.text);
      return frozenExitCode;
    case 'overtaken':
      throw overtakenError(outcome.by);
    case 'interrupted':
      throw new CommandError('interrupted', 'The freeze was given up and the program killed.', continuation(session));
    case 'ended': {
      if (outcome.end.kind === 'lost') throw new FreezerError('lost', outcome.end.reason, continuation(session));
      if (outcome.end.reason) say(outcome.end.reason);
      await keepResults(begun.run, rest.workspace, rest.stateDirectory);
      if (!rest.keep) await forget(rest.store, begun);
      return exitCodeOfProgram(outcome.end);
    }
  }
}

function continuation({ newestCheckpoint }: Session): string {
  if (!newestCheckpoint) return 'There is no checkpoint: the next start begins anew.';
  return `The next start continues from the checkpoint of ${formatTime(newestCheckpoint.frozenAt)}.`;
}

/** A finished program must not be resumed. The claim says so at once; what it makes useless is then removed. */
async function forget(store: Store, { claim }: Begun): Promise<void> {
  const end = makeClaim(claim.epoch + 1, 'end', []);
  if (!(await createClaim(store, end))) return say('Another `freezer start` has taken over; its checkpoints are kept');
  await removeAll(store, claim.epoch);
  await forgetClaimsBefore(store, end);
}

function exitCodeOfProgram(end: Exclude<ProgramEnd, { kind: 'lost' }>): number {
  return end.kind === 'exited' ? end.code : 128 + end.signal;
}

/** Keeps the container alive for as long as this process is. */
class StandingLease implements Disposable {
  #renew: RenewLease = () => undefined;
  readonly #timer = setInterval(() => this.#renew(LEASE_MS), LEASE_MS / 6);

  readonly attach = (renew: RenewLease): void => {
    this.#renew = renew;
    renew(LEASE_MS);
  };

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** What signals and other commands meet: a start that is still beginning, or a program that runs. */
class Progress {
  readonly #command: readonly string[];
  readonly #cancel = new AbortController();
  #session: Session | undefined;
  #step = 'starting';

  constructor(command: readonly string[]) {
    this.#command = command;
  }

  /** Aborts when the program is not to begin any more. */
  get signal(): AbortSignal {
    return this.#cancel.signal;
  }

  running(session: Session): void {
    this.#session = session;
  }

  readonly onStep = (step: string): void => {
    this.#step = step;
  };

  freeze(signal: NodeJS.Signals): void {
    if (!this.#session) {
      const remedy = 'Checkpoints that were there still are.';
      this.#cancel.abort(new CommandError('interrupted', `${signal} came before the program ran.`, remedy));
    } else if (!this.#session.isFreezing) {
      say('Freezing');
      this.#session.freeze('stop', say).catch(sayFailure);
    } else if (signal === 'SIGINT') this.#session.interrupt();
  }

  forward(signal: NodeJS.Signals): void {
    this.#session?.forward(signal);
  }

  readonly answer = async (command: string, onProgress: (text: string) => void): Promise<string> => {
    if (command === 'status') return this.#status();
    if (!this.#session) throw new CommandError('conflict', `The program is not running yet: ${this.#step}.`, 'Wait.');
    return this.#session.freeze(command === 'freeze' ? 'stop' : 'continue', onProgress);
  };

  #status(): string {
    const what = quoted(this.#command) || 'the program';
    if (!this.#session) return `${what}: ${this.#step}`;
    const newest = this.#session.newestCheckpoint;
    const checkpoint = newest
      ? `newest checkpoint ${newest.id} of ${formatTime(newest.frozenAt)}`
      : 'no checkpoint yet';
    return `${what}: ${this.#session.isFreezing ? 'being frozen' : 'running'}; ${checkpoint}`;
  }
}

function sayFailure(error: unknown): void {
  const { code, message, remedy } = describeFailure(error);
  if (['ended', 'lost', 'cancelled', 'conflict'].includes(code)) return; // told by how the program ends
  say(`Not frozen, the program runs on: ${message} ${remedy}`.trim());
}
