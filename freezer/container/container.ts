/**
 * A job's container, from its making to its removal. What counts is the agent's connection: while it is there the container
 * lives, whatever becomes of the engine's daemon or its command line; when it breaks the container's main process has
 * left, and the kernel ends everything in there.
 */
import { constants, cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { MISPLACED, misplaced } from '../agent/checkMounts.ts';
import { cancelled, FreezerError } from '../errors.ts';
import { type Agent, awaitAgent } from '../run/agentLink.ts';
import type { Program, ProgramEnd } from '../runtime.ts';
import { ANY_TIME, type ContainerEngine, EngineRefusal } from './engine.ts';
import { allMounts, expectations } from './mounts.ts';
import { type ContainerPlan, runArguments } from './runArguments.ts';
import { removeVolumes } from './volumes.ts';

export interface Launched {
  readonly agent: Agent;
  readonly programEnd: Promise<ProgramEnd>;
  /** Resolves when the container is gone and removed, with its last words. */
  readonly gone: Promise<string>;
  /** Rejects with `FreezerError` `unsupported` when something is not mounted where it was put. */
  checkMounts(): Promise<void>;
  renewLease(validForMs: number): void;
  kill(): void;
}

export interface LaunchOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long the agent of a container that runs may take to connect. Default one minute. */
  readonly connectsWithinMs?: number;
}

/** With the time to copy what the image has at the places of its volumes. */
const STARTS_WITHIN_MS = 1_800_000;
const KILL_AFTER_MS = 2000;
const KILLED = 128 + constants.signals.SIGKILL;
/** How long the engine may take to tell of an end that is certain. */
const SOON = { withinMs: 10_000 };
const OUT_OF_MEMORY = 'The job used more memory than its limit, and the kernel killed it.';

const State = z.object({ OOMKilled: z.boolean().default(false), ExitCode: z.int(), Error: z.string().default('') });

/** Rejects with `FreezerError` when there is no container with an agent in it; nothing of it is left then. */
export async function launch(
  engine: ContainerEngine,
  plan: ContainerPlan,
  { signal, connectsWithinMs = 60_000 }: LaunchOptions = {},
): Promise<Launched> {
  refuseTooManyCpus(plan.program);
  const expected = await expectations(allMounts(plan));
  const end = Promise.withResolvers<ProgramEnd>();
  let exit: Promise<unknown> = Promise.resolve();
  const memory = { isLimited: plan.program.resources?.memoryBytes !== undefined, hadKill: false };
  const ended = (programEnd: ProgramEnd) => end.resolve(memory.isLimited ? withReason(agent, programEnd) : programEnd);
  const launched = new AbortController();
  const waitSignal = signal ? AbortSignal.any([signal, launched.signal]) : launched.signal;
  const agent: Agent = await awaitAgent(plan.folder.control, { ended }, () => {
    const made = engine.call(runArguments(engine.name, plan, expected), { signal, withinMs: STARTS_WITHIN_MS });
    const exited = made.then(() => engine.call(['wait', plan.name], { withinMs: ANY_TIME }));
    exit = exited;
    const failed = exited.then(
      async (status) => Promise.reject(cannotStart(Number(status), await lastWords(engine, plan.name))),
      (error: unknown) => Promise.reject(explainRefusal(engine, plan.program, error)),
    );
    const silent = made.then(
      () => silence(connectsWithinMs, waitSignal),
      () => failed,
    );
    return { failed: Promise.race([failed, silent]) };
  })
    .catch(async (error: unknown) => {
      await removeContainer(engine, plan.name);
      throw signal?.aborted ? cancelled(error) : error;
    })
    .finally(() => launched.abort());
  const gone = untilGone(engine, plan, agent, exit).then(({ words, isOutOfMemory }) => {
    if (isOutOfMemory && memory.isLimited && !memory.hadKill)
      end.resolve({ kind: 'killed', signal: constants.signals.SIGKILL, reason: OUT_OF_MEMORY });
    return words;
  });
  const kill = () => {
    agent.notify('exit', {});
    const timer = setTimeout(() => void engine.call(['kill', plan.name]).catch(ignoreRefusal), KILL_AFTER_MS);
    void gone.then(() => clearTimeout(timer));
  };
  const renewLease = (validForMs: number) => {
    agent.notify('renewLease', { validForMs });
    if (memory.isLimited) void hasKilled(agent).then((killed) => (memory.hadKill ||= killed));
  };
  const checkMounts = () => agent.request('checkMounts', { expected });
  return { agent, programEnd: end.promise, gone, checkMounts, renewLease, kill };
}

/** Rejects when an agent that should have connected has not, and when it is no longer waited for. */
async function silence(withinMs: number, signal: AbortSignal): Promise<never> {
  await delay(withinMs, undefined, { signal });
  const what = `The job's container has run for ${withinMs / 1000} s, and its agent has not answered.`;
  throw new FreezerError('cannotRun', what, 'See whether this machine or its container engine is overloaded.');
}

/** An engine that does not answer ends nothing: then only the agent's leaving tells. */
async function untilGone(engine: ContainerEngine, plan: ContainerPlan, agent: Agent, exit: Promise<unknown>) {
  const exited = exit.then(
    () => undefined,
    () => agent.closed,
  );
  await Promise.race([agent.closed, exited]);
  const isOutOfMemory = await wasOutOfMemory(engine, plan.name);
  const words = await lastWords(engine, plan.name);
  await removeContainer(engine, plan.name);
  return { words, isOutOfMemory };
}

/**
 * Whether the kernel killed the agent, and the container with it, for want of memory. The engine remembers a kill of anything in
 * the container at any time: where the agent has told of one, it says nothing about the container's own end.
 */
async function wasOutOfMemory(engine: ContainerEngine, name: string): Promise<boolean> {
  try {
    await engine.call(['wait', name], SOON);
    const state = await engine.ask(State, ['inspect', '--format', '{{json .State}}', name], SOON);
    return state.OOMKilled && state.ExitCode === KILLED;
  } catch (error) {
    if (error instanceof EngineRefusal) return false; // the engine is away: `lost` is what remains to say
    throw error;
  }
}

async function withReason(agent: Agent, end: ProgramEnd): Promise<ProgramEnd> {
  if (end.kind !== 'killed' && !(end.kind === 'exited' && end.code !== 0)) return end;
  return (await hasKilled(agent)) ? { ...end, reason: OUT_OF_MEMORY } : end;
}

/** Whether something in the container was killed for want of memory, as far as its agent can tell. */
async function hasKilled(agent: Agent): Promise<boolean> {
  const { killed } = await agent.request('memoryEvents', {}).catch(() => ({ killed: false }));
  return killed;
}

/** What the agent wrote last; empty when nobody can say. */
async function lastWords(engine: ContainerEngine, name: string): Promise<string> {
  const words = await engine.call(['logs', '--tail', '20', name], { all: true, ...SOON }).catch(ignoreRefusal);
  return words?.trim().slice(-2000) ?? '';
}

/** With its volumes. What the engine cannot remove now is left to `removeLeftOvers`, and to the next start of the worker. */
export async function removeContainer(engine: ContainerEngine, name: string): Promise<void> {
  engine.leftOver.add(name);
  try {
    await engine.call(removal(engine, name), SOON).catch(ignoreGone);
    await removeVolumes(engine, name);
    engine.leftOver.delete(name);
  } catch (error) {
    ignoreRefusal(error);
  }
}

/** Of a container as it is, running or not, with its volumes. Podman would ask it to stop, and wait. */
export function removal(engine: ContainerEngine, name: string): string[] {
  return ['rm', '--force', '--volumes', ...(engine.name === 'podman' ? ['--time', '0'] : []), name];
}

/** Those that ended while the engine was away. To be called when it answers. */
export async function removeLeftOvers(engine: ContainerEngine): Promise<void> {
  for (const name of engine.leftOver) await removeContainer(engine, name);
}

/** Docker says that a removal is in progress when another of this container is under way: a sweep of another worker may do it. */
function ignoreGone(error: unknown): void {
  if (!(error instanceof EngineRefusal) || !/no such container|already in progress/i.test(error.words)) throw error;
}

function ignoreRefusal(error: unknown): undefined {
  if (!(error instanceof EngineRefusal)) throw error;
}

/** Nothing but Floe's own has run, so that the exit status can be believed. */
function cannotStart(status: number, words: string): FreezerError {
  if (status === MISPLACED) return misplaced(words);
  const what = `The job's container ended before its agent was up: ${words || 'no reason was given'}.`;
  return new FreezerError('cannotRun', what, "Look into the container engine's log on this machine.");
}

/** Docker says so, too; Podman gives what there is. */
function refuseTooManyCpus({ resources }: Program): void {
  const count = cpus().length;
  if ((resources?.cpus ?? 0) <= count) return;
  const what = `The job wants ${resources?.cpus} CPUs, and this machine has ${count}.`;
  throw new FreezerError('notHere', what, CHANGE_RESOURCES);
}

const CHANGE_RESOURCES = 'Let a worker of its pool have as much, or submit it with less in `resources`.';

function tooLong(cause: EngineRefusal): FreezerError {
  const what = 'The image has labels and variables with more, or longer, names than a command line can take.';
  return new FreezerError('unsupported', what, 'Build the image with fewer of them.', { cause });
}

/** What engines say when a file of the image's, or a link to the root folder, keeps them from mounting what is Floe's. */
const IN_THE_WAY =
  /container init.*(not a directory|no such file or directory)|is not a? ?directory|too many (levels of symbolic )?links|invoke a command that was not found/i;

/** Engines say what they think of a container in words only. */
function explainRefusal(engine: ContainerEngine, { resources }: Program, error: unknown): unknown {
  if (!(error instanceof EngineRefusal)) return error;
  const refused = (code: 'notHere' | 'cannotRun', remedy: string) =>
    new FreezerError(code, `${engine.name} refuses the job's container: ${error.words}`, remedy, { cause: error });
  if (error.isDown || error.code === 'diskFull') return error;
  if (/command line would be too long/.test(error.words)) return tooLong(error);
  if (IN_THE_WAY.test(error.words)) return misplaced(error.words);
  if (resources?.gpus && /device driver|gpu|cdi/i.test(error.words))
    return refused('notHere', "Submit it to a pool whose workers have GPUs and the engine's GPU runtime.");
  if (/memory limit|range of cpus/i.test(error.words)) return refused('notHere', CHANGE_RESOURCES);
  return refused('cannotRun', error.remedy);
}
