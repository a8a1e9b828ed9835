/**
 * The `process` runtime's container: bubblewrap with PID, mount, IPC and host name namespaces of its own.
 *
 * The job sees the machine's own programs and libraries, read-only. The only places where it can write are folders of the
 * run, and all of those move with it: a write anywhere else fails at once, instead of being left behind at a move.
 * It shares the network. It can read what root can read: this runtime is for programs that the machine's owner trusts.
 */
import { existsSync } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AGENT_ENVIRONMENT, places } from '../agent/protocol.ts';
import { movingFolders, type RunFolder } from '../run/folder.ts';
import { CRIU_KERNEL_FOLDER, TOOLBOX_IN_CONTAINER, toolbox } from '../toolbox.ts';
import { requirePlaces, type Volume } from './volumes.ts';

const FLOE_IN_CONTAINER = '/floe';
const AGENT_IN_CONTAINER = '/floe/freezer';
const NODE_IN_CONTAINER = '/floe/node';
/** Top-level folders that the container has of its own. */
const OWN = new Set(['proc', 'dev', 'tmp', 'workspace', 'floe', 'lost+found']);

/** Arguments for `bwrap`, up to and with the agent's command line. Rejects as `requirePlaces` does. */
export async function sandboxArguments(
  folder: RunFolder,
  volumes: readonly Volume[],
  toolboxDirectory: string,
): Promise<string[]> {
  await requirePlaces(volumes);
  const source = fileURLToPath(new URL('..', import.meta.url));
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  return [
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--die-with-parent', '--as-pid-1'],
    // For the agent and CRIU. The supervisor drops every capability before it starts the job.
    ...['--cap-add', 'ALL'],
    ...(await hostFolders()),
    ...['--proc', '/proc', '--dev', '/dev', ...hiddenFromTheJob()],
    ...secretsMount(folder),
    // As a mount of its own it cannot be renamed, and another put in its place.
    ...['--bind', folder.floe, FLOE_IN_CONTAINER, '--tmpfs', CRIU_KERNEL_FOLDER],
    ...Object.entries(movingFolders).flatMap(([place, name]) => ['--bind', join(folder.files, name), place]),
    ...volumes.flatMap(({ place, directory }) => ['--bind', directory, place]),
    ...['--bind', folder.images, places.images, '--bind', folder.control, places.control],
    ...['--bind', folder.common, places.common],
    ...['--ro-bind', toolboxDirectory, TOOLBOX_IN_CONTAINER, '--ro-bind', source, AGENT_IN_CONTAINER],
    ...['--ro-bind', process.execPath, NODE_IN_CONTAINER, '--ro-bind', packageFile(source), '/floe/package.json'],
    ...(folder.secrets === null ? [] : ['--remount-ro', '/run']),
    ...['--remount-ro', '/', '--chdir', '/', '--clearenv'],
    ...Object.entries(AGENT_ENVIRONMENT).flatMap(([name, value]) => ['--setenv', name, value]),
    ...['--', toolbox.init, NODE_IN_CONTAINER, join(AGENT_IN_CONTAINER, 'agent', `main${extension}`)],
  ];
}

/** Below a /run of the job's own: the machine's need not have the place. */
function secretsMount({ secrets }: RunFolder): string[] {
  if (secrets === null) return [];
  return ['--tmpfs', '/run', '--ro-bind', secrets, places.secrets];
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
const HIDDEN_FOLDERS = ['/proc/acpi', '/proc/asound', '/proc/scsi', '/sys/devices/virtual/powercap', '/sys/firmware'];

/** Those of them that this kernel has. */
function hiddenFromTheJob(): string[] {
  return [
    ...READ_ONLY.filter(existsSync).flatMap((path) => ['--ro-bind', path, path]),
    ...HIDDEN_FILES.filter(existsSync).flatMap((path) => ['--ro-bind', '/dev/null', path]),
    ...HIDDEN_FOLDERS.filter(existsSync).flatMap((path) => ['--tmpfs', path, '--remount-ro', path]),
  ];
}

/** The machine's top-level folders, read-only, and its links such as /bin as links. */
export async function hostFolders(): Promise<string[]> {
  const entries = await readdir('/', { withFileTypes: true });
  const seen = entries.filter(({ name }) => !OWN.has(name));
  const args = await Promise.all(
    seen.map(async (entry) => {
      const path = `/${entry.name}`;
      if (entry.isSymbolicLink()) return ['--symlink', await readlink(path), path];
      return entry.isDirectory() ? ['--ro-bind', path, path] : [];
    }),
  );
  return args.flat();
}

/** The nearest package.json, which tells Node that the agent's files are modules. */
function packageFile(from: string): string {
  const here = join(from, 'package.json');
  return existsSync(here) ? here : packageFile(dirname(from));
}
