/** What else of the machine keeps jobs from running or being frozen: security modules, control groups, room. */
import { readFile, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CONTROLLERS, ownPlace } from '../process/controllers.ts';
import { openImagesPlace } from '../run/imagesPlace.ts';
import { bad, type MachineFinding, ok } from './finding.ts';

const GIB = 2 ** 30;
/** The files of jobs are in the state folder. */
const ROOM = { fail: GIB, warn: 10 * GIB };
/** Docker's default of 64 MiB is short for programs that share memory. */
const SHARED_MEMORY_BYTES = 128 * 2 ** 20;
/** Of `/proc/PID/status`: a filter of system calls is in force. */
const FILTERED = '2';

/** A filter or a profile that the worker itself is under, as in a container with the engine's defaults. */
export async function checkConfinement(): Promise<MachineFinding[]> {
  const status = await readFile('/proc/self/status', 'utf8');
  const isFiltered = /^Seccomp:\s*(\d)/m.exec(status)?.[1] === FILTERED;
  const profile = (await readOptional('/proc/self/attr/current'))?.replaceAll('\0', '').trim() ?? '';
  const ptraceScope = (await readOptional('/proc/sys/kernel/yama/ptrace_scope'))?.trim() ?? '0';
  return [
    isFiltered
      ? bad(
          'warn',
          'seccomp',
          'this process is under a filter, and CRIU with it',
          'Start the container with seccomp=unconfined.',
        )
      : ok('seccomp', 'no filter on Floe itself; jobs have their own'),
    / \(enforce\)$/.test(profile)
      ? bad('warn', 'AppArmor', `the profile ${profile} is in force`, 'Start the container with apparmor=unconfined.')
      : ok('AppArmor', 'no profile on Floe itself'),
    ...(ptraceScope === '3'
      ? [
          bad(
            'fail',
            'ptrace',
            'nobody may (kernel.yama.ptrace_scope is 3)',
            'Set kernel.yama.ptrace_scope to 2 or less and restart.',
          ),
        ]
      : []),
  ];
}

export async function checkControlGroups(): Promise<MachineFinding> {
  const check = 'control groups';
  const [mounts, groups] = await Promise.all([
    readFile('/proc/self/mountinfo', 'utf8'),
    readFile('/proc/self/cgroup', 'utf8'),
  ]);
  const found = CONTROLLERS.map((name) => ({ name, place: ownPlace(mounts, groups, name) }));
  const missing = found.filter(({ place }) => place === null).map(({ name }) => name);
  if (missing.length > 0) {
    const remedy =
      'Mount them, for jobs with `resources` in the `process` runtime; without pids such jobs may start any number of processes.';
    return bad('warn', check, `no controller for ${missing.join(' and ')}`, remedy);
  }
  const versions = new Set(found.map(({ place }) => place?.version));
  return ok(check, `version ${[...versions].join(' and ')}`);
}

/** `stateDirectory` need not be there yet. */
export async function checkRoom(stateDirectory: string): Promise<MachineFinding[]> {
  const free = await freeBytes(stateDirectory);
  const shared = await freeBytes('/dev/shm');
  const remedy = 'Make room, or move it with FLOE_STATE_DIR: it holds the files of jobs.';
  const found = `${inGib(free)} free in ${stateDirectory}`;
  const status = free < ROOM.fail ? 'fail' : 'warn';
  return [
    free < ROOM.warn ? bad(status, 'room', found, remedy) : ok('room', found),
    shared < SHARED_MEMORY_BYTES
      ? bad('warn', 'shared memory', `${inGib(shared)} free in /dev/shm`, 'Give it more: --shm-size for a container.')
      : ok('shared memory', `${inGib(shared)} free in /dev/shm`),
  ];
}

/** Where the memory of jobs is while they are thawed: `asked` for, or as the freezer chooses. */
export async function checkImagesPlace(asked: string | undefined, stateDirectory: string): Promise<MachineFinding> {
  const check = 'images';
  const { directory, isMemory } = await openImagesPlace(asked, stateDirectory);
  const place = `in ${dirname(directory)}`;
  if (isMemory) return ok(check, `${inGib(await freeBytes(directory))} free ${place}, in memory`);
  const remedy = 'Name a folder on a tmpfs in FLOE_IMAGES_DIR, or give /dev/shm more room: --shm-size for a container.';
  return bad('warn', check, `${place}, on a disk: the memory of jobs is written to it while they are thawed`, remedy);
}

/** Of the folder, or of the nearest one above that is there. */
async function freeBytes(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing || directory === dirname(directory)) throw error;
    return freeBytes(dirname(directory));
  }
}

function inGib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}

/** Null where the kernel has no such file, or gives nothing out of it. */
function readOptional(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch(() => null);
}
