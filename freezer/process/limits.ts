/**
 * A run's control group: what keeps a job within its `resources`.
 *
 * The group is made below the one that the worker is in, so that what limits the worker limits its jobs too. It exists before the
 * container, holds everything in the container before the job's first instruction or the first page of a restore, and
 * is removed once the container is gone. Every job has one, for the number of its processes is always limited.
 *
 * In version 2 a group that has groups below it may hold no processes of its own: where the kernel says so, the worker,
 * and whatever else is in its group, moves into a group beside the runs', under the same limits as before.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FreezerError } from '../errors.ts';
import { DEFAULT_PROCESSES } from '../processLimit.ts';
import { isOwnerAlive } from '../run/owner.ts';
import {
  CONTROLLERS,
  type Controller,
  controllersFor,
  FAIR_SHARE,
  type GroupPlace,
  hasKilled,
  hasRefused,
  type Limits,
  memoryEventsFile,
  ownPlace,
  PROCESS_EVENTS_FILE,
  settingsFor,
} from './controllers.ts';

/**
 * What the group may have beyond the job's own limit, for the agent and CRIU, which are in the container with it. Measured
 * with jobs of 16 MiB to 1 GiB: 4 MiB at most during dumps and restores (what the agent took before it was put into the
 * group does not count there). The rest is room for the agent's heap.
 */
export const ALLOWANCE_BYTES = 32 * 2 ** 20;

/** The same for processes and threads: the agent's Node and a CRIU beside it have a few dozen. */
export const ALLOWANCE_PROCESSES = 100;

const RUN_PREFIX = 'floe-run-';
const WORKER_GROUP = 'floe-worker';
const MOVES_AT_MOST = 5;
const REMOVAL = { everyMs: 20, forMs: 5000 };

interface Folder extends GroupPlace {
  readonly controllers: Controller[];
}

export class RunGroup {
  readonly limits: Limits;
  readonly #folders: readonly Folder[];
  /** What `memoryExceeded` and `processesExceeded` say once the group is gone. */
  #lastWord: Promise<LastWord> | undefined;

  private constructor(limits: Limits, folders: readonly Folder[]) {
    this.limits = limits;
    this.#folders = folders;
  }

  /**
   * Rejects with `FreezerError` `notHere`, naming what is missing, where this worker cannot limit what the job wants limited.
   * A number of processes that the job has not asked for is left out where it cannot be had, with a warning; null when
   * nothing else is limited. A fair share of the processors is left out as well, silently: a machine that cannot share them
   * runs jobs all the same.
   * @param name the run's, unique on this machine; begins with the worker's process id
   */
  static async make(name: string, limits: Limits): Promise<RunGroup | null> {
    const bounded = { ...limits, processes: limits.processes ?? DEFAULT_PROCESSES };
    try {
      const shared = await RunGroup.#make(name, bounded, [FAIR_SHARE]).catch(nullWhereItCannotBeHad);
      return shared ?? (await RunGroup.#make(name, bounded));
    } catch (error) {
      if (limits.processes !== undefined || !(error instanceof FreezerError)) throw error;
      const group = await RunGroup.#make(name, limits);
      warnOfProcesses(error);
      return group;
    }
  }

  static async #make(name: string, limits: Limits, more: readonly Controller[] = []): Promise<RunGroup | null> {
    const controllers = [...new Set([...controllersFor(limits), ...more])];
    if (controllers.length === 0) return null;
    const folders: Folder[] = [];
    const group = new RunGroup(limits, folders);
    try {
      for (const parent of await parentsFor(controllers)) {
        if (parent.version === 2) await enable(parent.directory, parent.controllers);
        const folder = { ...parent, directory: join(parent.directory, `${RUN_PREFIX}${name}`) };
        await mkdir(folder.directory);
        folders.push(folder);
        await limit(folder, limits);
      }
      return group;
    } catch (error) {
      await group.remove();
      throw error instanceof FreezerError ? error : cannotLimit(String(error), error);
    }
  }

  /** Puts processes under the limits, with what they start from now on. One that has ended meanwhile is left out. */
  async hold(pids: readonly number[]): Promise<void> {
    for (const { directory } of this.#folders) {
      for (const pid of pids) await moveInto(directory, pid);
    }
  }

  /** What to tell the user when the kernel killed something here because the group was at its limit, else null. */
  async memoryExceeded(): Promise<string | null> {
    return (await this.#word()).memory;
  }

  /** What to tell the user when the kernel refused a process or thread here because the group was at its limit, else null. */
  async processesExceeded(): Promise<string | null> {
    return (await this.#word()).processes;
  }

  async #word(): Promise<LastWord> {
    const seen = await this.#read();
    // The group may have been removed while it was read: then only what was read before that counts.
    return this.#lastWord ?? seen;
  }

  async #read(): Promise<LastWord> {
    return { memory: await this.#readMemoryExceeded(), processes: await this.#readProcessesExceeded() };
  }

  async #readProcessesExceeded(): Promise<string | null> {
    const folder = this.#folderOf('pids');
    const events = folder === undefined ? '' : await readEvents(folder, PROCESS_EVENTS_FILE);
    return hasRefused(events) ? `The job wanted more than its limit of ${this.limits.processes} processes.` : null;
  }

  #folderOf(controller: Controller): Folder | undefined {
    return this.#folders.find(({ controllers }) => controllers.includes(controller));
  }

  async #readMemoryExceeded(): Promise<string | null> {
    const folder = this.#folderOf('memory');
    if (folder === undefined) return null;
    const events = await readEvents(folder, memoryEventsFile(folder.version));
    const mebibytes = Math.ceil((this.limits.memoryBytes ?? 0) / 2 ** 20);
    return hasKilled(folder.version, events) ? `The job used more memory than its limit of ${mebibytes} MiB.` : null;
  }

  /** Resolves when the group is gone. One that cannot be removed in time is left for `sweepRunGroups`. */
  async remove(): Promise<void> {
    this.#lastWord ??= this.#read();
    await this.#lastWord;
    const until = performance.now() + REMOVAL.forMs;
    for (const { directory } of this.#folders) {
      // Processes that were killed are in their group until the kernel has buried them, and version 1 tells nobody when.
      while (!(await removeEmpty(directory)) && performance.now() < until) await delay(REMOVAL.everyMs);
    }
  }
}

/** Each is a sentence, or null. */
interface LastWord {
  readonly memory: string | null;
  readonly processes: string | null;
}

/** A group that somebody removed has nothing to tell: the end of the program is then told without a reason. */
function readEvents({ directory }: Folder, file: string): Promise<string> {
  return readFile(join(directory, file), 'utf8').catch(() => '');
}

function nullWhereItCannotBeHad(error: unknown): null {
  if (error instanceof FreezerError) return null;
  throw error;
}

let hasWarned = false;

function warnOfProcesses({ message, remedy }: FreezerError): void {
  if (hasWarned) return;
  hasWarned = true;
  process.emitWarning(`Jobs may start any number of processes. ${message} ${remedy}`);
}

/** Removes the groups of workers that are dead. */
export async function sweepRunGroups(): Promise<void> {
  for (const controller of CONTROLLERS) {
    const parent = await parentFor(controller);
    if (parent === null) continue;
    const names = await readdir(parent.directory).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    });
    for (const name of names.filter((each) => each.startsWith(RUN_PREFIX))) {
      if (await isOwnerAlive(name.slice(RUN_PREFIX.length))) continue;
      await removeEmpty(join(parent.directory, name));
    }
  }
}

/** The groups below which the run's are made, each with the controllers that it is for: one of version 2, or one for each. */
async function parentsFor(controllers: readonly Controller[]): Promise<Folder[]> {
  const parents: Folder[] = [];
  for (const controller of controllers) {
    const parent = await parentFor(controller);
    if (parent === null) throw cannotLimit(`no control groups with the ${controller} controller are mounted`);
    const shared = parents.find(({ directory }) => directory === parent.directory);
    if (shared) shared.controllers.push(controller);
    else parents.push({ ...parent, controllers: [controller] });
  }
  return parents;
}

async function parentFor(controller: Controller): Promise<GroupPlace | null> {
  const [mountInfo, membership] = await Promise.all([
    readFile('/proc/self/mountinfo', 'utf8'),
    readFile('/proc/self/cgroup', 'utf8'),
  ]);
  const place = ownPlace(mountInfo, membership, controller);
  if (place === null || basename(place.directory) !== WORKER_GROUP) return place;
  return { ...place, directory: dirname(place.directory) };
}

/** Version 2: lets the groups below have the controllers. */
async function enable(directory: string, controllers: readonly Controller[]): Promise<void> {
  const available = (await readFile(join(directory, 'cgroup.controllers'), 'utf8')).trim().split(' ');
  const missing = controllers.find((controller) => !available.includes(controller));
  if (missing) throw cannotLimit(`${directory} does not have the ${missing} controller`);
  const wanted = controllers.map((controller) => `+${controller}`).join(' ');
  // Refused as busy: the group has processes of its own, and may have got new ones since the last round.
  for (let moves = 0; moves < MOVES_AT_MOST; moves++) {
    if (await put(join(directory, 'cgroup.subtree_control'), wanted, 'EBUSY')) return;
    await moveAside(directory);
  }
  throw cannotLimit(`${directory} still has processes of its own after they were moved ${MOVES_AT_MOST} times`);
}

async function moveAside(directory: string): Promise<void> {
  const aside = join(directory, WORKER_GROUP);
  await mkdir(aside, { recursive: true });
  const pids = (await readFile(join(directory, 'cgroup.procs'), 'utf8')).split('\n').filter(Boolean);
  for (const pid of pids) await moveInto(aside, Number(pid));
}

async function limit(folder: Folder, limits: Limits): Promise<void> {
  const { memoryBytes, processes } = limits;
  const ofGroup = {
    ...limits,
    memoryBytes: memoryBytes === undefined ? undefined : memoryBytes + ALLOWANCE_BYTES,
    processes: processes === undefined ? undefined : processes + ALLOWANCE_PROCESSES,
  };
  for (const controller of folder.controllers) {
    for (const { file, value, mayBeMissing } of settingsFor(folder.version, controller, ofGroup)) {
      await put(join(folder.directory, file), value, mayBeMissing ? 'ENOENT' : undefined);
    }
  }
}

/** A process that has ended is left out. */
async function moveInto(directory: string, pid: number): Promise<void> {
  await put(join(directory, 'cgroup.procs'), String(pid), 'ESRCH');
}

/** Writes one of the kernel's files. False when it answers with `refusal`; any other failure is an error that names the file. */
async function put(file: string, value: string, refusal?: string): Promise<boolean> {
  try {
    await writeFile(file, value, { flag: 'r+' });
    return true;
  } catch (error) {
    if (refusal !== undefined && hasCode(error, refusal)) return false;
    throw cannotLimit(`${file} does not take ${value}: ${error instanceof Error ? error.message : error}`, error);
  }
}

/** True when it is gone, false while it holds processes. */
async function removeEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    return hasCode(error, 'ENOENT');
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function cannotLimit(what: string, cause?: unknown): FreezerError {
  return new FreezerError(
    'notHere',
    `This worker cannot limit a job's resources: ${what}.`,
    'Run the worker as root where it may make control groups (systemd: `Delegate=yes`; a container: /sys/fs/cgroup mounted read-write), or submit the job without `resources`.',
    { cause },
  );
}
