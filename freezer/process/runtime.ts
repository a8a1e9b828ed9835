/** The `process` runtime: jobs in namespaces on the machine itself, no container engine needed. */
import { basename } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { places } from '../agent/protocol.ts';
import { readCpuFeatures } from '../cpu.ts';
import { readCriuVersion } from '../criu/version.ts';
import { FreezerError } from '../errors.ts';
import { ContainerRun } from '../run/containerRun.ts';
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
import type { Program, Run, Runtime, StartOptions, ThawOptions } from '../runtime.ts';
import { checkMachine } from './checkMachine.ts';
import { sweepEtcCopies } from './etcCopy.ts';
import { hostFiles, requireReadablePaths } from './hostFiles.ts';
import { launch, NAME, networkFor } from './launch.ts';
import { RunGroup, sweepRunGroups } from './limits.ts';
import { LEAST_ACCESS, type MachineAccess } from './machineAccess.ts';
import { requireWayOut } from './network.ts';
import { whileMountsMove } from './steadyMounts.ts';
import { explainUnseen } from './unseenFiles.ts';
import { makeVolumeFolders, makeVolumes, volumePlaces, volumesOf } from './volumes.ts';

export interface ProcessRuntimeOptions {
  /** Where runs have their folders; on a disk with room for the jobs' files. */
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  /** Where CRIU's images are kept (run/imagesPlace.ts). Default /dev/shm/floe where that can be used, else the state folder. */
  readonly imagesDirectory?: string | undefined;
  /** What jobs may have of the machine. Default `LEAST_ACCESS`. */
  readonly access?: MachineAccess | undefined;
}

const BASE_ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/tmp/home',
  LANG: 'C.UTF-8',
  // libuv would try io_uring, which cannot be frozen; the supervisor refuses it, and this spares the attempt.
  UV_USE_IO_URING: '0',
};

/** Runs of one worker process on this machine. */
export function openProcessRuntime(given: ProcessRuntimeOptions): Runtime {
  const options = { ...given, access: given.access ?? LEAST_ACCESS };
  return {
    name: NAME,
    check: async () => {
      await checkMachine(options.toolboxDirectory);
      await requireReadablePaths(options.access);
      await sweepRunFolders(options.stateDirectory);
      await sweepEtcCopies(options.stateDirectory);
      await sweepRunGroups();
      await openImagesPlace(options.imagesDirectory, options.stateDirectory);
      await warnOfNetwork(options.access);
      // The first job need not wait for what is found out once.
      await hostFiles(options.access, options.stateDirectory);
      const criuVersion = (await readCriuVersion(options.toolboxDirectory)).join('.');
      return { criuVersion, cpuFeatures: await readCpuFeatures() };
    },
    start: (start) => whileMountsMove(() => startRun(options, start)),
    thaw: (thaw) => whileMountsMove(() => thawAnyRun(options, thaw)),
  };
}

type OpenOptions = ProcessRuntimeOptions & { readonly access: MachineAccess };

/** Once: a worker says it at its start. */
let hasWarned = false;

async function warnOfNetwork({ network }: MachineAccess): Promise<void> {
  if (network === 'host' || hasWarned) return;
  await requireWayOut().catch(({ message, remedy }: FreezerError) => {
    hasWarned = true;
    process.emitWarning(`${message} Jobs that want a network do not run here. ${remedy}`);
  });
}

async function startRun(options: OpenOptions, start: StartOptions): Promise<Run> {
  refuseWhatNeedsAnEngine(start.program);
  return inFolder(options, start, async (folder, group) => {
    await makeMovingFolders(folder);
    await makeVolumes(folder, start.program.volumes ?? [], options.access);
    await start.prepareWorkspace?.(folder.workspace);
    const volumes = await volumesOf(folder.files);
    const network = await networkFor(start.program, options.access);
    const { container, programEnd } = await launch(options, { folder, volumes, group, network });
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
async function thawAnyRun(options: OpenOptions, thaw: ThawOptions): Promise<Run> {
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
async function thawRun(options: OpenOptions, thaw: ThawOptions, places: readonly string[]): Promise<Run> {
  return inFolder(options, thaw, async (folder, group) => {
    await makeMountPoints(folder);
    await makeVolumeFolders(folder, places);
    const volumes = await volumesOf(folder.files);
    const network = await networkFor(thaw.program, options.access);
    await using ending = new AsyncDisposableStack();
    const thawing = ending.use(new Thawing(folder, thaw, options.toolboxDirectory));
    const { container, programEnd } = await launch(options, { folder, volumes, group, network });
    const run = await orKill(container, thaw.signal, async () => {
      const found = await thawing.found;
      const actual = volumePlaces(found.folders);
      if (!isDeepStrictEqual(new Set(actual), new Set(places))) throw new OtherVolumes(actual);
      thaw.attachLease((validForMs) => container.agent.notify('renewLease', { validForMs }));
      await thawing.fetched();
      const filling = await thawing.restore(container).catch(async (error: unknown) => {
        throw outgrown(await group?.memoryExceeded(), await explainUnseen(error, options.access, places));
      });
      await emptyFolder(folder.images);
      const beginning = { logStart: found.logSizes, thawedFrom: thaw.checkpointId, filling };
      return new ContainerRun(container, programEnd, beginning);
    });
    ending.move();
    return run;
  });
}

/** Why a restore failed, when the job did not fit into its limit. */
function outgrown(reason: string | null | undefined, error: unknown): unknown {
  if (!reason) return error;
  const remedy = 'Submit the job with more `memoryBytes`.';
  return new FreezerError('restoreFailed', `CRIU could not restore the job: ${reason}`, remedy, { cause: error });
}

/** Makes the run's folder and its control group, and removes them again when `work` fails. */
async function inFolder(
  options: OpenOptions,
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

function refuseWhatNeedsAnEngine({ image, user, resources }: Program): void {
  const refused =
    (image !== undefined && { field: 'image', why: `runs no images, and the job wants ${image}` }) ||
    (user !== undefined && { field: 'user', why: `runs every job as root, and the job wants to be ${user}` }) ||
    (resources?.gpus && { field: 'resources.gpus', why: `has no GPUs to give, and the job wants ${resources.gpus}` });
  if (!refused) return;
  const remedy = `Submit it without \`${refused.field}\`, or to a pool whose workers have a container engine.`;
  throw new FreezerError('unsupported', `The process runtime ${refused.why}.`, remedy);
}
