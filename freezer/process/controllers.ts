/**
 * Where Linux's control groups are mounted, and which of their files limit a group. Both generations: version 1 has a tree
 * for each controller, version 2 one tree for all; a machine may have both, and then each controller is in one of them.
 * Formats: proc_pid_mountinfo(5), cgroups(7), and the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
 */
import { join } from 'node:path';

export const CONTROLLERS = ['cpu', 'memory', 'pids'] as const;
export type Controller = (typeof CONTROLLERS)[number];

/** What a job may use at most; undefined is no limit. */
export interface Limits {
  /** CPUs' worth of time; fractions allowed. */
  readonly cpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** Processes and threads at a time. */
  readonly processes?: number | undefined;
}

export interface GroupPlace {
  readonly version: 1 | 2;
  /** The folder of the group that this process is in. */
  readonly directory: string;
}

/** One write into a group's folder, in the order in which the kernel accepts them. */
export interface Setting {
  readonly file: string;
  readonly value: string;
  /** Kernels that do not count swap lack the file; a group can then not be kept from swapping. */
  readonly mayBeMissing?: true;
}

const PERIOD_US = 100_000;
/** The kernel refuses less. */
const SMALLEST_QUOTA_US = 1000;

/**
 * Shares the processors fairly between groups, without any setting: however many processes a job has, together they are as
 * one job. Without it each of them takes as much as the worker.
 */
export const FAIR_SHARE: Controller = 'cpu';

/** The controllers that these limits need. */
export function controllersFor(limits: Limits): Controller[] {
  const wanted = { cpu: limits.cpus, memory: limits.memoryBytes, pids: limits.processes };
  return CONTROLLERS.filter((controller) => wanted[controller] !== undefined);
}

/** What to write for one controller. `memoryBytes` and `processes` are what the whole group may have. */
export function settingsFor(version: 1 | 2, controller: Controller, limits: Limits): Setting[] {
  if (controller === 'pids') return [{ file: 'pids.max', value: String(limits.processes) }];
  if (controller === 'cpu') return limits.cpus === undefined ? [] : cpuSettings(version, limits.cpus);
  return memorySettings(version, String(limits.memoryBytes));
}

function cpuSettings(version: 1 | 2, cpus: number): Setting[] {
  const quota = String(Math.max(SMALLEST_QUOTA_US, Math.round(cpus * PERIOD_US)));
  if (version === 2) return [{ file: 'cpu.max', value: `${quota} ${PERIOD_US}` }];
  return [
    { file: 'cpu.cfs_period_us', value: String(PERIOD_US) },
    { file: 'cpu.cfs_quota_us', value: quota },
  ];
}

/** No swap: version 1 limits memory and swap together, and only to what memory alone is limited to or more. */
function memorySettings(version: 1 | 2, bytes: string): Setting[] {
  if (version === 2) {
    return [
      { file: 'memory.max', value: bytes },
      { file: 'memory.swap.max', value: '0', mayBeMissing: true },
    ];
  }
  return [
    { file: 'memory.limit_in_bytes', value: bytes },
    { file: 'memory.memsw.limit_in_bytes', value: bytes, mayBeMissing: true },
  ];
}

/** The file that counts what the kernel killed for lack of memory. */
export function memoryEventsFile(version: 1 | 2): string {
  return version === 2 ? 'memory.events' : 'memory.oom_control';
}

/**
 * Whether the kernel killed a process because the group was at its limit. Version 2 tells that (`oom`) from a machine that
 * was out of memory as a whole; version 1 does not, and such a kill is taken for the group's own.
 */
export function hasKilled(version: 1 | 2, events: string): boolean {
  return count(events, 'oom_kill') > 0 && (version === 1 || count(events, 'oom') > 0);
}

function count(events: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(events)?.[1] ?? 0);
}

/** The file that counts the processes which the kernel refused a group, in both versions. */
export const PROCESS_EVENTS_FILE = 'pids.events';

/** Whether the kernel refused the group a process because it was at its limit. */
export function hasRefused(events: string): boolean {
  return count(events, 'max') > 0;
}

/**
 * Where this process is in the tree that has the controller. Version 2 is named where no version 1 tree has it; whether
 * version 2 does is told by `cgroup.controllers` there. Null where neither is mounted within reach.
 * @param mountInfo `/proc/self/mountinfo`
 * @param membership `/proc/self/cgroup`
 */
export function ownPlace(mountInfo: string, membership: string, controller: Controller): GroupPlace | null {
  const mounts = mountInfo.split('\n').flatMap(parseMount);
  const groups = membership.split('\n').flatMap(parseMembership);
  const inVersion1 = groups.find(({ controllers }) => controllers.includes(controller));
  const version = inVersion1 ? 1 : 2;
  const group = inVersion1 ?? groups.find(({ controllers }) => controllers.length === 0);
  for (const mount of mounts) {
    if (mount.version !== version || (version === 1 && !mount.options.includes(controller))) continue;
    const below = group === undefined ? null : pathBelow(mount.root, group.path);
    if (below !== null) return { version, directory: join(mount.directory, below) };
  }
  return null;
}

function parseMount(line: string) {
  const [left = '', right = ''] = line.split(' - ');
  const [, , , root = '', directory = ''] = left.split(' ').map(unescapePath);
  const [type, , options = ''] = right.split(' ');
  if (type !== 'cgroup' && type !== 'cgroup2') return [];
  return [{ version: type === 'cgroup' ? 1 : 2, root, directory, options: options.split(',') }];
}

/** `4:memory:/a` in version 1, `0::/a` in version 2; a group's path may have colons. */
function parseMembership(line: string) {
  const match = /^\d+:([^:]*):(.*)$/.exec(line);
  if (!match) return [];
  const [, controllers = '', path = ''] = match;
  return [{ controllers: controllers.split(',').filter(Boolean), path }];
}

/** A container may see only a part of the tree: `root` is what is mounted. Null for a path that is not in it. */
function pathBelow(root: string, path: string): string | null {
  if (path.split('/').includes('..')) return null;
  if (root === '/' || path === root) return path === root ? '' : path;
  return path.startsWith(`${root}/`) ? path.slice(root.length) : null;
}

function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
