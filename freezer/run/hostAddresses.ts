/** Where this machine itself can be reached: what a job's own network must not lead to. */
import { access } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';

/**
 * Every address of this machine, and the whole network behind each of its bridges, where its containers are. As
 * `ADDRESS[/PREFIX]`. What is added to the machine later is not in it.
 */
export async function hostAddresses(): Promise<string[]> {
  const found = await Promise.all(
    Object.entries(networkInterfaces()).map(async ([name, addresses = []]) => {
      const isBridge = await isThere(join('/sys/class/net', name, 'bridge'));
      return addresses.map(({ address, cidr }) => (isBridge && cidr !== null ? cidr : address));
    }),
  );
  return [...new Set(found.flat())];
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
