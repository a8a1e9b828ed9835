/** The `process` runtime: jobs in namespaces on the machine itself, no container engine needed. */
import { constants } from 'node:os';
import { basename } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { execa } from 'execa';
import { processTree } from '../agent/processes.ts';
import { places } from '../agent/protocol.ts';
import { readCpuFeatures } from '../cpu.ts';
import { readCriuVersion } from '../criu/version.ts';
import { FreezerError } from '../errors.ts';
import { awaitAgent } from '../run/agentLink.ts';
import { type Container, ContainerRun } from '../run/containerRun.ts';
import { emptyFolder } from '../run/emptyFolder.ts';
import {
  makeMountPoints,
  makeMovingFolders,
  makeRunFolder,
  type RunFolder,
  removeRunFolder,
  sweepRunFolders,
} from '../run/folder.ts';
import { openImagesPlace } from '../run/imagesPlace.ts';
import { orKill } from '../run/orKill.ts';
import { Thawing } from '../run/thawing.ts';
import type { Program, ProgramEnd, Run, Runtime, StartOptions, ThawOptions } from '../runtime.ts';
import { checkMachine } from './checkMachine.ts';
import { RunGroup, sweepRunGroups } from './limits.ts';
import { sandboxArguments } from './sandbox.ts';
import { whileMountsMove } from './steadyMounts.ts';
import { makeVolumeFolders, makeVolumes, type Volume, volumePlaces, volumesOf } from './volumes.ts';

export interface ProcessRuntimeOptions {
  /** Where runs have their folders; on a disk with room for the jobs' files. */
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  /** Where CRIU's images are kept (run/imagesPlace.ts). Default /dev/shm/floe where that can be used, else the state folder. */
  readonly imagesDirectory?: string | undefined;
}

const NAME = 'process';
const KILL_AFTER_MS = 2000;
/** The container's exit status when its agent was killed by SIGKILL, as a shell would say it. */
const AGENT_KILLED = 128 + 9;

const BASE_ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/tmp/home',
  LANG: 'C.UTF-8',
  // libuv would try io_uring, which cannot be frozen; the supervisor refuses it, and this spares the attempt.
  UV_USE_IO_URING: '0',
};

/** Runs of one worker process on this machine. */
export function openProcessRuntime(options: ProcessRuntimeOptions): Runtime {
  return {
    name: NAME,
    check: async () => {
      await checkMachine(options.toolboxDirectory);
      await sweepRunFolders(options.stateDirectory);
      await sweepRunGroups();
      await openImagesPlace(options.imagesDirectory, options.stateDirectory);
      const criuVersion = (await readCriuVersion(options.toolboxDirectory)).join('.');
      return { criuVersion, cpuFeatures: await readCpuFeatures() };
    },
    start: (start) => whileMountsMove(() => startRun(options, start)),
    thaw: (thaw) => whileMountsMove(() => thawAnyRun(options, thaw)),
  };
}

async function startRun(options: ProcessRuntimeOptions, start: StartOptions): Promise<Run> {
  refuseWhatNeedsAnEngine(start.program);
  return inFolder(options, start, async (folder, group) => {
    await makeMovingFolders(folder);
    await makeVolumes(folder, start.program.volumes ?? []);
    await start.prepareWorkspace?.(folder.workspace);
    const volumes = await volumesOf(folder.files);
    const { container, programEnd } = await launch(options, { folder, volumes, group });
    return orKill(container, start.signal, async () => {
      start.attachLease((validForMs) => container.agent.notify('renewLease', { validForMs }));
      const { command, env, directory = places.workspace } = start.program;
      const program = { command, env: { ...BASE_ENVIRONMENT, ...env }, directory, user: null };
      await container.agent.request('start', program).catch(async (error: unknown) => {
        // A program that took its agent down with it before the agent could answer has started, and `ended` tells how it went.
        if (!(await group?.memoryExceeded())) throw error;
        container.kill();
      });
      return new ContainerRun(container, programEnd, { logStart: { stdout: 0, stderr: 0 }, thawedFrom: null });
    });
  });
}

/**
 * With the volumes that the program is said to have. Where the checkpoint has others it is thawed again with those: what is mounted must
 * be known when the container starts.
 */
async function thawAnyRun(options: ProcessRuntimeOptions, thaw: ThawOptions): Promise<Run> {
  refuseWhatNeedsAnEngine(thaw.program);
  try {
    return await thawRun(options, thaw, thaw.program.volumes ?? []);
  } catch (error) {
    if (!(error instanceof OtherVolumes)) throw error;
    return await thawRun(options, thaw, error.places);
  }
}

class OtherVolumes extends Error {
  readonly places: readonly string[];

  constructor(places: readonly string[]) {
    super(`the checkpoint has the volumes ${places.join(', ')}`);
    this.places = places;
  }
}

/** The container starts while the checkpoint is opened. Rejects with `OtherVolumes` for those, and nothing is left then. */
async function thawRun(options: ProcessRuntimeOptions, thaw: ThawOptions, places: readonly string[]): Promise<Run> {
  return inFolder(options, thaw, async (folder, group) => {
    await makeMountPoints(folder);
    await makeVolumeFolders(folder, places);
    const volumes = await volumesOf(folder.files);
    await using ending = new AsyncDisposableStack();
    const thawing = ending.use(new Thawing(folder, thaw, options.toolboxDirectory));
    const { container, programEnd } = await launch(options, { folder, volumes, group });
    const run = await orKill(container, thaw.signal, async () => {
      const found = await thawing.found;
      const actual = volumePlaces(found.folders);
      if (!isDeepStrictEqual(new Set(actual), new Set(places))) throw new OtherVolumes(actual);
      thaw.attachLease((validForMs) => container.agent.notify('renewLease', { validForMs }));
      await thawing.fetched();
      const filling = await thawing.restore(container).catch(async (error: unknown) => {
        throw outgrown(await group?.memoryExceeded(), error);
      });
      await emptyFolder(folder.images);
      const beginning = { logStart: found.logSizes, thawedFrom: thaw.checkpointId, filling };
      return new ContainerRun(container, programEnd, beginning);
    });
    ending.move();
    return run;
  });
}

/** Starts the container, waits for its agent, and puts what is in it under the job's limits. */
async function launch(
  options: ProcessRuntimeOptions,
  { folder, volumes, group }: { folder: RunFolder; volumes: readonly Volume[]; group: RunGroup | null },
): Promise<{ container: Container; programEnd: Promise<ProgramEnd> }> {
  const { toolboxDirectory } = options;
  const [criuVersion, cpuFeatures, args] = await Promise.all([
    readCriuVersion(toolboxDirectory),
    readCpuFeatures(),
    sandboxArguments(folder, volumes, toolboxDirectory),
  ]);
  const facts = { runtime: NAME, image: null, criuVersion, cpuFeatures };
  const end = Promise.withResolvers<ProgramEnd>();
  const { promise: gone, resolve: resolveGone } = Promise.withResolvers<string>();
  const killing = new AbortController();
  const ended = (programEnd: ProgramEnd) => end.resolve(withReason(programEnd, group));
  let sandboxPid = 0;
  const agent = await awaitAgent(folder.control, { ended }, () => {
    // Detached: a Ctrl-C at the worker's terminal is the worker's to answer.
    const sandbox = execa('bwrap', args, {
      reject: false,
      detached: true,
      cleanup: false,
      stdin: 'ignore',
      stdout: 'ignore',
      maxBuffer: { stderr: 20_000 },
      cancelSignal: killing.signal,
      forceKillAfterDelay: false,
      killSignal: 'SIGKILL',
    });
    sandboxPid = sandbox.pid ?? 0;
    const words = sandbox.then(async (result) => {
      const text = lastWords(result);
      if (result.exitCode === AGENT_KILLED || result.signal) {
        ended({ kind: 'lost', reason: `The container ended. ${text}` });
        // Before `gone`, which ends the run without that reason.
        await end.promise;
      }
      await group?.remove();
      return text;
    });
    void words.then(resolveGone);
    return { failed: words.then((text) => Promise.reject(cannotLaunch(text))) };
  });
  const kill = () => {
    // Ended from inside, the container is known to be empty once it is gone; an agent that does not answer is killed from outside.
    agent.notify('exit', {});
    const timer = setTimeout(() => killing.abort(), KILL_AFTER_MS);
    void gone.then(() => clearTimeout(timer));
  };
  const memoryLimitBytes = group?.limits.memoryBytes;
  const container = { facts, folder, toolboxDirectory, agent, gone, kill, memoryLimitBytes };
  // All but bubblewrap, whose end tells that the container is gone: the kernel must not choose it when memory runs out.
  const inContainer = async () => (await processTree(sandboxPid)).slice(1);
  if (group) await orKill(container, undefined, async () => group.hold(await inContainer()));
  return { container, programEnd: end.promise };
}

/** Of bubblewrap, as execa says it. */
interface SandboxEnd {
  readonly stderr: string;
  readonly exitCode?: number | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  readonly originalMessage?: string | undefined;
}

/** Empty where it ended as it should. */
function lastWords({ stderr, exitCode, signal, originalMessage }: SandboxEnd): string {
  const words = stderr.trim().slice(-2000);
  if (words !== '' || exitCode === 0) return words;
  if (exitCode === AGENT_KILLED) return 'The agent in it was killed';
  if (signal) return `bwrap was killed by ${signal}`;
  return exitCode === undefined ? (originalMessage ?? '') : `bwrap ended with exit code ${exitCode}`;
}

/** A program that the kernel killed for its own use of memory has failed by itself, even where its agent died with it. */
async function withReason(end: ProgramEnd, group: RunGroup | null): Promise<ProgramEnd> {
  if (end.kind === 'exited' && end.code === 0) return end;
  const reason = await group?.memoryExceeded();
  if (!reason) return end;
  return end.kind === 'lost' ? { kind: 'killed', signal: constants.signals.SIGKILL, reason } : { ...end, reason };
}

/** Why a restore failed, when the job did not fit into its limit. */
function outgrown(reason: string | null | undefined, error: unknown): unknown {
  if (!reason) return error;
  const remedy = 'Submit the job with more `memoryBytes`.';
  return new FreezerError('restoreFailed', `CRIU could not restore the job: ${reason}`, remedy, { cause: error });
}

function cannotLaunch(words: string): FreezerError {
  return new FreezerError(
    'cannotRun',
    `The job's container could not be started: ${words || 'no reason was given'}.`,
    'Run `floe worker` as root with bubblewrap installed.',
  );
}

/** Makes the run's folder and its control group, and removes them again when `work` fails. */
async function inFolder(
  options: ProcessRuntimeOptions,
  start: StartOptions | ThawOptions,
  work: (folder: RunFolder, group: RunGroup | null) => Promise<Run>,
): Promise<Run> {
  const images = await openImagesPlace(options.imagesDirectory, options.stateDirectory);
  const folder = await makeRunFolder(
    { stateDirectory: options.stateDirectory, images },
    `${start.jobId}-${start.epoch}`,
    start.prepareSecrets,
  );
  let group: RunGroup | null = null;
  try {
    group = await RunGroup.make(basename(folder.root), start.program.resources ?? {});
    return await work(folder, group);
  } catch (error) {
    await group?.remove();
    await removeRunFolder(folder);
    throw error;
  }
}

function refuseWhatNeedsAnEngine({ image, user, network, resources }: Program): void {
  const refused =
    (image !== undefined && { field: 'image', why: `runs no images, and the job wants ${image}` }) ||
    (user !== undefined && { field: 'user', why: `runs every job as root, and the job wants to be ${user}` }) ||
    (network === 'none' && { field: 'network', why: "shares the machine's network, and the job wants none" }) ||
    (resources?.gpus && { field: 'resources.gpus', why: `has no GPUs to give, and the job wants ${resources.gpus}` });
  if (!refused) return;
  const remedy = `Submit it without \`${refused.field}\`, or to a pool whose workers have a container engine.`;
  throw new FreezerError('unsupported', `The process runtime ${refused.why}.`, remedy);
}
