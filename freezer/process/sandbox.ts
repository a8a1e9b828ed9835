/**
 * The `process` runtime's container: bubblewrap with PID, mount, network, IPC and host name namespaces of its own.
 *
 * The job sees the machine's own programs and libraries, read-only (hostFiles.ts). The only places where it can write are folders
 * of the run, and all of those move with it: a write anywhere else fails at once, instead of being left behind at a move.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AGENT_ENVIRONMENT, places } from '../agent/protocol.ts';
import { movingFolders, type RunFolder } from '../run/folder.ts';
import { CRIU_KERNEL_FOLDER, TOOLBOX_IN_CONTAINER, toolbox } from '../toolbox.ts';
import { encode, hostFiles } from './hostFiles.ts';
import type { MachineAccess } from './machineAccess.ts';
import { requirePlaces, type Volume } from './volumes.ts';

const FLOE_IN_CONTAINER = '/floe';
const AGENT_IN_CONTAINER = '/floe/freezer';
const NODE_IN_CONTAINER = '/floe/node';

/** How `bwrap` is to be started. */
export interface Sandbox {
  /** Its options, as it reads them by `--args`. */
  readonly options: Buffer;
  /** What it runs: the agent, under its init. */
  readonly command: readonly string[];
}

export interface SandboxOptions {
  readonly folder: RunFolder;
  readonly volumes: readonly Volume[];
  readonly toolboxDirectory: string;
  readonly stateDirectory: string;
  readonly access: MachineAccess;
  /** Whether the job has a network namespace of its own. */
  readonly ownNetwork: boolean;
}

/** Rejects as `requirePlaces` does. */
export async function describeSandbox(options: SandboxOptions): Promise<Sandbox> {
  const { folder, volumes, toolboxDirectory, stateDirectory, access, ownNetwork } = options;
  await requirePlaces(volumes, access);
  const source = fileURLToPath(new URL('..', import.meta.url));
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  const first = [
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--die-with-parent', '--as-pid-1'],
    ...(ownNetwork ? ['--unshare-net'] : []),
    // For the agent and CRIU. The supervisor drops every capability before it starts the job.
    ...['--cap-add', 'ALL'],
  ];
  const rest = [
    ...['--proc', '/proc', '--dev', '/dev', ...hiddenFromTheJob()],
    ...(folder.secrets === null ? [] : ['--ro-bind', folder.secrets, places.secrets]),
    // As a mount of its own it cannot be renamed, and another put in its place.
    ...['--bind', folder.floe, FLOE_IN_CONTAINER, '--tmpfs', CRIU_KERNEL_FOLDER],
    ...Object.entries(movingFolders).flatMap(([place, name]) => ['--bind', join(folder.files, name), place]),
    ...volumes.flatMap(({ place, directory }) => ['--bind', directory, place]),
    ...['--bind', folder.images, places.images, '--bind', folder.control, places.control],
    ...['--bind', folder.common, places.common],
    ...['--ro-bind', toolboxDirectory, TOOLBOX_IN_CONTAINER, '--ro-bind', source, AGENT_IN_CONTAINER],
    ...['--ro-bind', process.execPath, NODE_IN_CONTAINER, '--ro-bind', packageFile(source), '/floe/package.json'],
    ...['--remount-ro', '/', '--chdir', '/', '--clearenv'],
    ...Object.entries(AGENT_ENVIRONMENT).flatMap(([name, value]) => ['--setenv', name, value]),
  ];
  return {
    options: Buffer.concat([encode(first), await hostFiles(access, stateDirectory), encode(rest)]),
    command: [toolbox.init, NODE_IN_CONTAINER, join(AGENT_IN_CONTAINER, 'agent', `main${extension}`)],
  };
}

/**
 * What container engines keep from a container, too: without a capability root may still write what belongs to root, such as
 * core_pattern, which names a program that the kernel starts outside of any container.
 */
const READ_ONLY = ['/proc/sys', '/proc/bus', '/proc/fs', '/proc/irq', '/proc/sysrq-trigger'];
const HIDDEN_FILES = [
  ...['/proc/interrupts', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/sched_debug', '/proc/timer_list'],
  '/proc/timer_stats',
];
const HIDDEN_FOLDERS = [
  ...['/proc/acpi', '/proc/asound', '/proc/scsi', '/sys/devices/virtual/powercap', '/sys/firmware'],
  // The machine's own, with what its services keep there.
  ...['/sys/fs/bpf', '/sys/fs/pstore', '/sys/kernel/config', '/sys/kernel/debug', '/sys/kernel/security'],
  '/sys/kernel/tracing',
];

/** Those of them that this kernel has. */
function hiddenFromTheJob(): string[] {
  return [
    ...READ_ONLY.filter(existsSync).flatMap((path) => ['--ro-bind', path, path]),
    ...HIDDEN_FILES.filter(existsSync).flatMap((path) => ['--ro-bind', '/dev/null', path]),
    ...HIDDEN_FOLDERS.filter(existsSync).flatMap((path) => ['--tmpfs', path, '--remount-ro', path]),
  ];
}

/** The nearest package.json, which tells Node that the agent's files are modules. */
function packageFile(from: string): string {
  const here = join(from, 'package.json');
  return existsSync(here) ? here : packageFile(dirname(from));
}
