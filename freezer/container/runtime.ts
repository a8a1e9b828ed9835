/** The container runtime: jobs in images, by Docker or Podman. */
import { basename } from 'node:path';
import { execa } from 'execa';
import { readCpuFeatures } from '../cpu.ts';
import { obstacles } from '../criu/obstacles.ts';
import { readCriuVersion } from '../criu/version.ts';
import { FreezerError } from '../errors.ts';
import type { Agent } from '../run/agentLink.ts';
import { type Container, ContainerRun } from '../run/containerRun.ts';
import { explainDiskFull } from '../run/diskFull.ts';
import { emptyFolder } from '../run/emptyFolder.ts';
import { makeRunFolder, type RunFolder, removeRunFolder, sweepRunFolders } from '../run/folder.ts';
import { hostAddresses } from '../run/hostAddresses.ts';
import { type ImagesPlace, openImagesPlace, openInState, warnOfDisk } from '../run/imagesPlace.ts';
import { orKill } from '../run/orKill.ts';
import { Thawing } from '../run/thawing.ts';
import type { Program, ProgramEnd, RenewLease, Run, Runtime, StartOptions, ThawOptions } from '../runtime.ts';
import { type Bundle, publishBundle } from './bundle.ts';
import { layerChanges, layerSizeBytes } from './changes.ts';
import { type Launched, launch, removeContainer, removeLeftOvers } from './container.ts';
import { ContainerEngine, type EngineName } from './engine.ts';
import { type Image, resolveImage } from './image.ts';
import { requireHarmlessFiles } from './imageFiles.ts';
import { imageOf, imageOfThaw } from './imageOf.ts';
import type { Mount } from './mounts.ts';
import { labelsFor, sweepOrphans } from './orphans.ts';
import { type Permissions, probe } from './probe.ts';
import { CAPABILITIES, CAPABILITY_FOR_USERS } from './runArguments.ts';
import {
  createVolumes,
  makeOwnFolders,
  newVolumePlaces,
  ownMounts,
  thawedVolumes,
  volumePlaces,
  withSecrets,
} from './volumes.ts';

export interface ContainerRuntimeOptions {
  readonly engine: EngineName;
  /** Where runs have their folders. The engine must see it at the same path. */
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  /** Where CRIU's images are kept (run/imagesPlace.ts); the engine must see it at the same path. Default as for processes. */
  readonly imagesDirectory?: string | undefined;
}

/** What is found out once for a worker process. */
interface Site {
  readonly images: ImagesPlace;
  readonly bundle: Bundle;
  readonly permissions: Permissions;
  readonly labels: Readonly<Record<string, string>>;
  readonly criuVersion: [number, number, number];
  readonly cpuFeatures: readonly string[];
}

type CheckedContainer = Container & Pick<Launched, 'checkMounts'>;

/** Docker's own, where an image names none. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** libuv would try io_uring, which cannot be frozen; the supervisor refuses it, and this spares the attempt. */
const NO_IO_URING = { UV_USE_IO_URING: '0' };

/** Runs of one worker process, in containers of this machine's engine. */
export function openContainerRuntime(options: ContainerRuntimeOptions): Runtime {
  return new ContainerRuntime(options);
}

class ContainerRuntime implements Runtime {
  readonly name: string;
  readonly #options: ContainerRuntimeOptions;
  readonly #engine: ContainerEngine;
  #site: Promise<Site> | undefined;

  constructor(options: ContainerRuntimeOptions) {
    this.name = options.engine;
    this.#options = options;
    this.#engine = new ContainerEngine(options.engine);
  }

  async check(): Promise<{ criuVersion: string; cpuFeatures: string[] }> {
    const { criuVersion, cpuFeatures } = await this.#ready();
    return { criuVersion: criuVersion.join('.'), cpuFeatures: [...cpuFeatures] };
  }

  async start(start: StartOptions): Promise<Run> {
    const site = await this.#ready();
    const image = await resolveImage(this.#engine, imageOf(start.program), start.signal);
    return this.#inFolder(start, async (folder, name) => {
      await makeOwnFolders(folder);
      await start.prepareWorkspace?.(folder.workspace);
      const places = newVolumePlaces(start.program, image);
      const named = { container: name, labels: site.labels };
      const volumes = await createVolumes(this.#engine, folder, named, places);
      const { container, programEnd, renewLease } = await this.#launch(site, start, image, { name, folder, volumes });
      return orKill(container, start.signal, async () => {
        start.attachLease(renewLease);
        await container.agent.request('isolateNetwork', { addresses: await hostAddresses() });
        await container.checkMounts();
        await begin(container.agent, start.program, image, { folder, permissions: site.permissions });
        return new ContainerRun(container, programEnd, { logStart: { stdout: 0, stderr: 0 }, thawedFrom: null });
      });
    });
  }

  async thaw(thaw: ThawOptions): Promise<Run> {
    const site = await this.#ready();
    return this.#inFolder(thaw, async (folder, name) => {
      await using ending = new AsyncDisposableStack();
      const thawing = ending.use(new Thawing(folder, thaw, this.#options.toolboxDirectory));
      const found = await thawing.found;
      const image = await resolveImage(this.#engine, imageOfThaw(found.image, thaw.program), thaw.signal);
      const volumes = thawedVolumes(folder, volumePlaces(thaw.program, image));
      const { container, programEnd, renewLease } = await this.#launch(site, thaw, image, { name, folder, volumes });
      const run = await orKill(container, thaw.signal, async () => {
        thaw.attachLease(renewLease);
        await container.agent.request('isolateNetwork', { addresses: await hostAddresses() });
        await resolveUser(container.agent, thaw.program, image, site.permissions);
        await thawing.fetched();
        await container.agent.request('applyLayer', {});
        await container.checkMounts();
        const filling = await thawing.restore(container);
        await emptyFolder(folder.images);
        const beginning = { logStart: found.logSizes, thawedFrom: thaw.checkpointId, filling };
        return new ContainerRun(container, programEnd, beginning);
      });
      ending.move();
      return run;
    });
  }

  /** The machine as it is now: its engine may have gone away since it was looked at. */
  async #ready(): Promise<Site> {
    const site = await this.#prepared();
    await this.#engine.version();
    await removeLeftOvers(this.#engine);
    return site;
  }

  /** A machine that could not be made ready is tried again by the next call: its engine may be there by then. */
  #prepared(): Promise<Site> {
    this.#site ??= this.#prepare().catch((error: unknown) => {
      this.#site = undefined;
      throw explainDiskFull(error);
    });
    return this.#site;
  }

  async #prepare(): Promise<Site> {
    const { stateDirectory, toolboxDirectory } = this.#options;
    if (process.getuid?.() !== 0) {
      const remedy = 'Start the worker as root, for instance with sudo.';
      throw new FreezerError('cannotRun', "Reading the files of containers' programs needs root.", remedy);
    }
    const criuVersion = await readCriuVersion(toolboxDirectory);
    await this.#engine.version();
    await sweepOrphans(this.#engine, stateDirectory);
    await sweepRunFolders(stateDirectory);
    const bundle = await publishBundle(stateDirectory, toolboxDirectory);
    const labels = await labelsFor(stateDirectory);
    const { images, permissions } = await this.#probe({ bundle, labels });
    return { bundle, images, permissions, labels, criuVersion, cpuFeatures: await readCpuFeatures() };
  }

  /** An engine may see another /dev/shm than a worker in a container does: images that were not asked to be there are then elsewhere. */
  async #probe(site: Pick<Site, 'bundle' | 'labels'>): Promise<Pick<Site, 'images' | 'permissions'>> {
    const { stateDirectory, imagesDirectory } = this.#options;
    const tryWith = async (images: ImagesPlace) => ({
      images,
      permissions: await probe({ ...site, engine: this.#engine, stateDirectory, images }),
    });
    const images = await openImagesPlace(imagesDirectory, stateDirectory);
    try {
      return await tryWith(images);
    } catch (error) {
      if (!(error instanceof FreezerError) || imagesDirectory !== undefined || !images.isMemory) throw error;
      // Where that changes nothing, what it says then is the reason, and no image is kept anywhere.
      const site = await tryWith(await openInState(stateDirectory));
      warnOfDisk(site.images, `${this.name} does not see ${images.directory}: ${error.message}`);
      return site;
    }
  }

  async #launch(
    site: Site,
    { program, jobId, signal }: StartOptions | ThawOptions,
    image: Image,
    { name, folder, volumes }: { name: string; folder: RunFolder; volumes: readonly Mount[] },
  ): Promise<{ container: CheckedContainer; programEnd: Promise<ProgramEnd>; renewLease: RenewLease }> {
    await requireHarmlessFiles(this.#engine, image, { labels: site.labels, emptyFolder: folder.control, signal });
    const isRoot = /^(0|root)?(:|$)/.test(program.user ?? image.user);
    const launched = await launch(
      this.#engine,
      {
        ...{ name, image, program, folder, labels: site.labels, bundle: site.bundle },
        hostname: jobId.replaceAll(/[^A-Za-z0-9-]/g, '-').slice(0, 63),
        mounts: withSecrets([...ownMounts(folder), ...volumes], folder),
        capabilities: isRoot || !site.permissions.users ? CAPABILITIES : [...CAPABILITIES, CAPABILITY_FOR_USERS],
        securityOptions: site.permissions.securityOptions,
      },
      { signal },
    );
    const { criuVersion, cpuFeatures } = site;
    const container: CheckedContainer = {
      ...launched,
      ...(program.resources?.gpus ? { obstacle: obstacles.gpu } : {}),
      memoryLimitBytes: program.resources?.memoryBytes,
      facts: { runtime: this.name, image: image.pin, criuVersion, cpuFeatures },
      folder,
      toolboxDirectory: this.#options.toolboxDirectory,
      gatherFiles: async (signal) => {
        await launched.agent.request('saveLayer', { changes: await layerChanges(this.#engine, name, signal) });
      },
      layerSizeBytes: (signal) => layerSizeBytes(this.#engine, name, signal),
    };
    return { container, programEnd: launched.programEnd, renewLease: launched.renewLease };
  }

  /** Makes the run's folder, and removes it with what the engine has of the run when `work` fails. */
  async #inFolder(
    { jobId, epoch, prepareSecrets }: StartOptions | ThawOptions,
    work: (folder: RunFolder, containerName: string) => Promise<Run>,
  ): Promise<Run> {
    const folder = await makeRunFolder(
      { stateDirectory: this.#options.stateDirectory, images: (await this.#prepared()).images },
      `${jobId}-${epoch}`,
      prepareSecrets,
    ).catch((error: unknown) => Promise.reject(explainDiskFull(error)));
    const name = `floe-${basename(folder.root)}`;
    try {
      return await work(folder, name);
    } catch (error) {
      await removeContainer(this.#engine, name);
      await removeRunFolder(folder);
      throw explainDiskFull(error);
    }
  }
}

/** Starts the program as its image and its spec say. */
async function begin(
  agent: Agent,
  program: Program,
  image: Image,
  { folder, permissions }: { folder: RunFolder; permissions: Permissions },
): Promise<void> {
  const user = await resolveUser(agent, program, image, permissions);
  if (user.uid !== 0)
    await execa('chown', ['--recursive', '--no-dereference', `${user.uid}:${user.gid}`, '--', folder.workspace]);
  const isImagesOwn = program.command.length === 0;
  const command = isImagesOwn ? image.command : program.command;
  if (command.length === 0) {
    const remedy = 'Submit the job with a command.';
    throw new FreezerError('unsupported', `The image ${image.pin} has no command of its own.`, remedy);
  }
  const isPlainRoot = user.uid === 0 && user.gid === 0 && user.groups.length === 0;
  await agent.request('start', {
    command,
    env: { PATH: DEFAULT_PATH, HOME: user.home, ...NO_IO_URING, ...image.env, ...program.env },
    directory: program.directory ?? (isImagesOwn ? image.directory : '/workspace'),
    user: isPlainRoot ? null : user,
  });
}

/** To be asked while the container's files are the image's: a job can change what they say of users. */
async function resolveUser(agent: Agent, program: Program, image: Image, permissions: Permissions) {
  const name = program.user ?? image.user;
  const user = await agent.request('resolveUser', { user: name });
  if (user.uid !== 0 && !permissions.users) throw cannotBeUser(name);
  return user;
}

function cannotBeUser(user: string): FreezerError {
  return new FreezerError(
    'notHere',
    `The job would run as ${user}, and this machine cannot freeze programs of other users than root: it grants no CAP_SYS_RESOURCE.`,
    'Submit it with `user: root` (it has no capability then either), or to workers whose containers may have that capability.',
  );
}
