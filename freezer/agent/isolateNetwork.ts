/**
 * What a job in a container cannot reach: the clouds' metadata endpoints, the machine, and other containers. Decided by routes and
 * policies in the container's own network namespace, so that no engine and no firewall of the machine has to help; the job may not change them.
 */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { toolbox } from '../toolbox.ts';
import { halvesOf, withoutAddresses } from './ipRanges.ts';
import { readMountPoints } from './mountPoints.ts';
import { runProgram } from './program.ts';

/**
 * `addresses` (`ADDRESS[/PREFIX]`) are the machine's. The networks that the container is in, with the machine's end of them and
 * the other containers, are added. A name server stays reachable, wherever it is, or the job could look up no names.
 * Throws `FreezerError` `failed`.
 */
export async function isolateNetwork(addresses: readonly string[]): Promise<void> {
  const reachable = [...(await readNameServers()), ...ownIPv6Addresses()];
  const unreachable = [...addresses, ...ownNetworks()].flatMap((range) => withoutAddresses(range, reachable));
  await runProgram(toolbox.answerNeighbours);
  await runProgram(toolbox.isolateNetwork, unreachable);
}

/** The kernel does not except them from its policies, as it does those of IPv4. */
function ownIPv6Addresses(): string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses);
  return interfaces.flatMap(({ family, address }) => (family === 'IPv6' ? [address] : []));
}

/** As halves: the kernel has a route to the whole, and prefers one that is more specific. */
function ownNetworks(): string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses);
  return interfaces.flatMap(({ internal, cidr }) => (internal || cidr === null ? [] : halvesOf(cidr)));
}

const CONFIGURATION = '/etc/resolv.conf';

/** Those that the engine has told: an image's own file, or a link to one, could name whatever the job is not to reach. */
async function readNameServers(): Promise<string[]> {
  if (!(await readMountPoints()).includes(CONFIGURATION)) return [];
  const text = await readFile(CONFIGURATION, 'utf8');
  const servers = Array.from(text.matchAll(/^nameserver\s+(\S+)/gm), ([, address = '']) => address.replace(/%.*/, ''));
  return servers.filter((address) => isIP(address) !== 0);
}
