/**
 * The network of an isolated job: a namespace of its own, and slirp4netns as its way out. Connections leave from this process's
 * own network, so where they must not go is decided inside the job's namespace, before the job starts: routes that it has
 * no capability to change (agent/native/isolateNetwork.c). A job that names a device to get around its routes meets nobody who
 * answers for the address (slirp answers ARP for its own addresses only).
 */
import { open, readFile } from 'node:fs/promises';
import { BlockList, isIP, isIPv4 } from 'node:net';
import { hostname } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { execa } from 'execa';
import { FreezerError } from '../errors.ts';
import { hostAddresses } from '../run/hostAddresses.ts';

/** A job that has bound a socket to its address must find it again after a move: it is the same everywhere. */
const SLIRP_NETWORK = '10.0.2.0/24';
const DEVICE = 'tap0';
/** Of the machine's name, as Debian has it where a machine has no other. */
const OWN_ADDRESS = '127.0.1.1';
const TUN = '/dev/net/tun';
const NEVER = [
  // With a device named, these would leave the namespace, and slirp would take them for the machine's own.
  ...['0.0.0.0/8', '127.0.0.0/8'],
  // Addresses of the link, such as the clouds' metadata.
  '169.254.0.0/16',
  // Slirp's own gateway and name server.
  ...['10.0.2.2', '10.0.2.3'],
  // Groups and broadcasts reach the machine, too.
  ...['224.0.0.0/4', '240.0.0.0/4'],
];
/**
 * Of util-linux. slirp4netns unmounts all but its own for its sandbox, and where mounts are shared that would reach the machine's: those of
 * other programs' network namespaces below /run/netns, for instance.
 */
const OWN_MOUNTS = ['--mount', '--propagation', 'private', '--'];
const REMEDY =
  "Install the package slirp4netns and let the worker use /dev/net/tun, submit the job with `network: none`, or let jobs have the machine's own network (`worker.processNetwork: host`).";

/** What a job's namespace must not lead to: this machine, its containers, the clouds' metadata. As `ADDRESS[/PREFIX]`. */
export async function forbiddenAddresses(): Promise<string[]> {
  return [...NEVER, ...(await hostAddresses())];
}

/** Throws `FreezerError` `notHere`, saying what is missing, where jobs can have no way out. */
export async function requireWayOut(): Promise<void> {
  const { failed, exitCode, stderr } = await execa('slirp4netns', ['--version'], { reject: false });
  if (failed) throw noWayOut(exitCode === undefined ? 'slirp4netns is not installed' : `slirp4netns fails: ${stderr}`);
  // Opened, because a container may have the device and no permission to use it.
  const tun = await open(TUN, 'r+').catch((cause: unknown) => Promise.reject(noWayOut(`${TUN} cannot be used`, cause)));
  await tun.close();
}

function noWayOut(what: string, cause?: unknown): FreezerError {
  const message = `This worker cannot give a job a network of its own: ${what.trim()}.`;
  return new FreezerError('notHere', message, REMEDY, { cause });
}

/** A job's way out. It ends when it is disposed of, and when this process ends. */
export interface WayOut extends AsyncDisposable {
  readonly pid: number;
  /** Resolves to its last words, whyever it ended; never rejects. */
  readonly ended: Promise<string>;
}

/**
 * Gives the network namespace of a process a device and a default route. Resolves when both are there; rejects with `FreezerError`
 * `notHere` where they cannot be had. The namespace needs no name server of slirp's: that would pass on every port to the machine's.
 */
export async function openWayOut(pid: number): Promise<WayOut> {
  const options = ['--configure', '--mtu=65520', `--cidr=${SLIRP_NETWORK}`, '--disable-host-loopback', '--disable-dns'];
  const confinement = ['--enable-sandbox', '--enable-seccomp'];
  // The kernel closes our end of exit-fd when we are killed.
  const ends = ['--exit-fd=3', '--ready-fd=4'];
  const slirp = execa(
    'unshare',
    [...OWN_MOUNTS, 'slirp4netns', ...options, ...confinement, ...ends, String(pid), DEVICE],
    {
      reject: false,
      detached: true,
      cleanup: false,
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
      buffer: { fd3: false, fd4: false },
      maxBuffer: { stderr: 20_000 },
    },
  );
  const exit = slirp.stdio[3] as unknown as Writable;
  const ready = slirp.stdio[4] as unknown as Readable;
  exit.on('error', () => undefined); // it has ended, which `ended` tells
  const ended = slirp.then(({ stderr, shortMessage }) => stderr.trim().slice(-1000) || (shortMessage ?? ''));
  const isReady = new Promise<true>((resolve) => ready.once('data', () => resolve(true)));
  const words = await Promise.race([isReady, ended]);
  if (words !== true) throw noWayOut(`slirp4netns ended: ${words}`);
  return {
    pid: slirp.pid ?? 0,
    ended,
    [Symbol.asyncDispose]: async () => {
      exit.destroy();
      await ended;
    },
  };
}

/** The machine's, and that of a systemd-resolved, which names itself in the first. */
const RESOLVER_FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** What an isolated job has in /etc in the place of the machine's: content by name. */
export async function networkFiles(nameservers: readonly string[]): Promise<Record<string, string>> {
  const hosts = await readFile('/etc/hosts', 'utf8').catch(() => '');
  return { 'resolv.conf': await resolverConfiguration(nameservers), hosts: hostsWith(hostname(), hosts) };
}

/**
 * The job has the machine's name. Programs look it up to reach their own parts (MPI, Java), and must not find the machine's address,
 * which is forbidden: the name and its aliases lead to the job's own loopback.
 */
export function hostsWith(name: string, hosts: string): string {
  const lines = hosts
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/));
  const isNamed = lines.some(([, ...names]) => names.includes(name));
  const own = lines.map(([address = '', ...names]) => {
    const leadsAway = names.includes(name) && !address.startsWith('127.') && address !== '::1';
    return [leadsAway ? OWN_ADDRESS : address, ...names].join(' ');
  });
  return [...own, ...(isNamed ? [] : [`${OWN_ADDRESS} ${name}`]), ''].join('\n');
}

/** What an isolated job has as /etc/resolv.conf. Without a name server where the machine has none that such a job can reach. */
export async function resolverConfiguration(nameservers: readonly string[]): Promise<string> {
  const texts = await Promise.all(RESOLVER_FILES.map((path) => readFile(path, 'utf8').catch(() => '')));
  const others = texts[0]?.match(/^(search|options)\s.*$/gm) ?? [];
  const servers = nameservers.length > 0 ? nameservers : reachable(texts, await forbiddenAddresses());
  return [...servers.map((address) => `nameserver ${address}`), ...others, ''].join('\n');
}

/** The name servers in the first of the texts that has any which are not forbidden. Slirp speaks IPv4 only. */
export function reachable(texts: readonly string[], forbidden: readonly string[]): string[] {
  const list = blockList(forbidden);
  for (const text of texts) {
    const servers = Array.from(text.matchAll(/^nameserver\s+(\S+)/gm), ([, address = '']) => address);
    const usable = servers.filter((address) => isIPv4(address) && !list.check(address));
    if (usable.length > 0) return usable;
  }
  return [];
}

function blockList(destinations: readonly string[]): BlockList {
  const list = new BlockList();
  for (const destination of destinations) {
    const [address = '', prefix] = destination.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    list.addSubnet(address, prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix), family);
  }
  return list;
}
