/** Removes what workers that were killed have left at the engine: their containers, and the volumes that those had. */
import { execa } from 'execa';

const WITHIN_MS = 60_000;

/** `label`: what all that belongs to one worker has. */
export async function removeLeftContainers(label: string): Promise<void> {
  await removeAll(['ps', '--all', '--quiet', '--filter', `label=${label}`], ['rm', '--force']);
  await removeAll(['volume', 'ls', '--quiet', '--filter', `label=${label}`], ['volume', 'rm', '--force']);
}

async function removeAll(list: readonly string[], remove: readonly string[]): Promise<void> {
  const options = { reject: false, timeout: WITHIN_MS } as const;
  const { stdout } = await execa('docker', list, options);
  const ids = stdout.split('\n').filter((line) => line !== '');
  if (ids.length > 0) await execa('docker', [...remove, ...ids], options);
}
