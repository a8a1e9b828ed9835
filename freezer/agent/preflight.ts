/**
 * Looks through /proc for what CRIU refuses to dump, without stopping the job. Rules: dump_one_file, dump_chrdev, handle_vma,
 * dump_socket, can_dump_ipproto and dump_task_ns_ids in CRIU's sources (criu/files.c, proc_parse.c, sockets.c, sk-inet.c,
 * namespaces.c). What cannot be seen from here, such as the other end of a UNIX socket, CRIU says when it dumps (criu/explain.ts).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Stats } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import {
  LARGEST_DELETED_FILE,
  type Obstacle,
  obstacles,
  unknownKernelObject,
  unknownSocket,
} from '../criu/obstacles.ts';
import { FreezerError } from '../errors.ts';
import { TOOLBOX_IN_CONTAINER, toolCommand } from '../toolbox.ts';
import { ignoreEnded, processTree } from './processes.ts';
import { places } from './protocol.ts';

/** An obstacle and where in the process it is, a few words. */
interface Sighting {
  readonly obstacle: Obstacle;
  readonly where: string;
}

/** Throws `FreezerError` `cannotFreeze` that names the process, what it has, where, and the remedy. */
export async function refuseUndumpable(root: number, toolboxDirectory = TOOLBOX_IN_CONTAINER): Promise<void> {
  const namespaces = await namespacesOf(root);
  for (const pid of await processTree(root)) {
    const seen =
      (await findTracer(pid)) ??
      (await findNamespaces(pid, namespaces)) ??
      (await findDescriptor(pid, toolboxDirectory)) ??
      (await findMapping(pid));
    if (seen) throw await undumpable(pid, seen);
  }
}

/**
 * Throws as `refuseUndumpable` does. CRIU wants to find an open file as it was, and a secret may be another one at the thaw; a file
 * that was replaced meanwhile would even go into the checkpoint.
 */
export async function refuseOpenSecrets(root: number): Promise<void> {
  for (const pid of await processTree(root)) {
    const where = (await findSecretDescriptor(pid)) ?? (await findSecretMapping(pid));
    if (where) throw await undumpable(pid, { obstacle: obstacles.openSecret, where });
  }
}

const isSecret = (target: string) => target.startsWith(`${places.secrets}/`);

async function findSecretDescriptor(pid: number): Promise<string | null> {
  for (const descriptor of await readdir(`/proc/${pid}/fd`).catch(ignoreEnded([]))) {
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(ignoreEnded(''));
    if (isSecret(target)) return `${target} as descriptor ${descriptor}`;
  }
  return null;
}

async function findSecretMapping(pid: number): Promise<string | null> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8').catch(ignoreEnded(''));
  const mapped = maps.matchAll(MAPPING).find(([, , , target = '']) => isSecret(target));
  return mapped ? `${mapped[3]} mapped at ${mapped[1]}` : null;
}

async function undumpable(pid: number, { obstacle, where }: Sighting): Promise<FreezerError> {
  const name = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(ignoreEnded('a process'))).trim();
  const message = `The job cannot be frozen: ${name} (process ${pid}) has ${obstacle.what} (${where}).`;
  return new FreezerError('cannotFreeze', message, obstacle.remedy);
}

async function findTracer(pid: number): Promise<Sighting | null> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(ignoreEnded(''));
  const tracer = /^TracerPid:\s*(\d+)$/m.exec(status)?.[1] ?? '0';
  return tracer === '0' ? null : { obstacle: obstacles.debugger, where: `process ${tracer}` };
}

/** Those that CRIU wants the whole job to have in common; mount namespaces it can nest. */
const COMMON_NAMESPACES = ['pid', 'net', 'ipc', 'uts', 'user', 'time'] as const;

function namespacesOf(pid: number): Promise<string[]> {
  return Promise.all(COMMON_NAMESPACES.map((name) => readlink(`/proc/${pid}/ns/${name}`).catch(ignoreEnded(''))));
}

async function findNamespaces(pid: number, common: readonly string[]): Promise<Sighting | null> {
  const own = await namespacesOf(pid);
  const others = COMMON_NAMESPACES.filter((_, at) => own[at] && common[at] && own[at] !== common[at]);
  return others.length === 0 ? null : { obstacle: obstacles.namespaces, where: others.join(', ') };
}

async function findDescriptor(pid: number, toolboxDirectory: string): Promise<Sighting | null> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(ignoreEnded([]));
  const sockets: string[] = [];
  for (const descriptor of descriptors) {
    const path = `/proc/${pid}/fd/${descriptor}`;
    const target = await readlink(path).catch(ignoreEnded(''));
    const obstacle = await judgeTarget(target, path);
    if (obstacle) return { obstacle, where: `descriptor ${descriptor}` };
    if (target.startsWith('socket:')) sockets.push(path);
  }
  return await findSocket(sockets, toolboxDirectory);
}

/** As `dump_one_file` knows them. */
const DUMPABLE_INODE = /^anon_inode:\[?(eventfd|eventpoll|inotify|fanotify|signalfd|timerfd|pidfd)\]?$/;

/** `path` leads to the file, and `target` is what the kernel calls it. Null for what CRIU can dump, or what is gone. */
async function judgeTarget(target: string, path: string): Promise<Obstacle | null> {
  if (target === '/secretmem (deleted)') return obstacles.secretMemory;
  const inode = /^anon_inode:\[?([^\]]*)/.exec(target)?.[1];
  if (inode !== undefined) return DUMPABLE_INODE.test(target) ? null : unknownKernelObject(inode);
  const isDeleted = target.endsWith(' (deleted)') && !target.startsWith('/memfd:');
  if (!isDeleted && !target.startsWith('/dev/')) return null;
  const stats = await stat(path).catch(ignoreEnded(null));
  if (stats === null) return null;
  if (isUnknownDevice(stats)) return obstacles.device;
  return isDeleted && isTooLargeWithoutName(stats) ? obstacles.largeDeletedFile : null;
}

/** Major numbers of character devices that CRIU opens anew: /dev/null and its like, and terminals. */
const KNOWN_DEVICES = new Set([1, 4, 5, 136, 137, 138, 139, 140, 141, 142, 143]);
/** Major and minor number of /dev/net/tun. */
const TUN = [10, 200] as const;
const PAGE_BYTES = 512;

function isUnknownDevice(stats: Stats): boolean {
  if (stats.isBlockDevice()) return true;
  if (!stats.isCharacterDevice()) return false;
  // makedev(3): the lower halves; no device has more.
  const [major, minor] = [(stats.rdev >> 8) & 0xfff, (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00)];
  return !KNOWN_DEVICES.has(major) && !(major === TUN[0] && minor === TUN[1]);
}

function isTooLargeWithoutName(stats: Stats): boolean {
  return stats.isFile() && stats.nlink === 0 && stats.blocks * PAGE_BYTES > LARGEST_DELETED_FILE.bytes;
}

/** The kernel's names of protocols that CRIU can dump. */
const DUMPABLE_PROTOCOL = /^(TCP|UDP|UDP-?Lite|RAW|PING|UNIX|UNIX-STREAM|NETLINK|PACKET)(v6)?$/i;
/** So that the command line stays within what the kernel takes. */
const MOST_SOCKETS_AT_ONCE = 10_000;

/** Asks by getfattr for the attribute in which the kernel has a socket's protocol, as lsof does: Node has no call for it. */
async function findSocket(paths: readonly string[], toolboxDirectory: string): Promise<Sighting | null> {
  for (let from = 0; from < paths.length; from += MOST_SOCKETS_AT_ONCE) {
    const [program, ...args] = toolCommand('getfattr', toolboxDirectory);
    const options = ['--absolute-names', '--name=system.sockprotoname', '--'];
    const some = paths.slice(from, from + MOST_SOCKETS_AT_ONCE);
    // Those that are closed meanwhile make it fail, and are no concern.
    const child = spawn(program, [...args, ...options, ...some], { env: {}, stdio: ['ignore', 'pipe', 'ignore'] });
    const [answer] = await Promise.all([text(child.stdout), once(child, 'close')]);
    const found = unknownProtocol(answer);
    if (found) return { obstacle: unknownSocket(found.protocol), where: `descriptor ${found.descriptor}` };
  }
  return null;
}

/** The first socket in getfattr's answer that CRIU cannot dump. */
export function unknownProtocol(answer: string): { descriptor: string; protocol: string } | null {
  for (const [, descriptor = '', protocol = ''] of answer.matchAll(
    /^# file: \S*\/(\d+)\nsystem\.sockprotoname="([^"\\]*)/gm,
  )) {
    if (!DUMPABLE_PROTOCOL.test(protocol)) return { descriptor, protocol };
  }
  return null;
}

/** Begin and end of a mapping, and what is mapped, in a line of /proc/PID/maps. */
const MAPPING = /^0*([0-9a-f]+)-0*([0-9a-f]+) \S+ \S+ \S+ \d+ +(\S.*)$/gm;

async function findMapping(pid: number): Promise<Sighting | null> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8').catch(ignoreEnded(''));
  for (const [, begin = '', end = '', target = ''] of maps.matchAll(MAPPING)) {
    const where = `mapped at ${begin}`;
    if (target === '[uprobes]') return { obstacle: obstacles.probes, where };
    // Shared memory without a name, which CRIU knows, looks like this.
    if (target.startsWith('/dev/zero')) continue;
    const obstacle = await judgeTarget(target, `/proc/${pid}/map_files/${begin}-${end}`);
    if (obstacle) return { obstacle, where };
  }
  return null;
}
