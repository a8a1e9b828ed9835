/** Files that the container's processes have open and that have no name any more: no look through folders finds them. */
import { readdir, stat, statfs } from 'node:fs/promises';
import { ignoreEnded } from './processes.ts';

/** A job can have more descriptors open than can be looked at in any time. What was found by then counts. */
const LOOK_FOR_MS = 1000;
const BLOCK_BYTES = 512n;
/** File systems that are in memory, and are no disk: tmpfs and hugetlbfs (statfs(2)). */
const IN_MEMORY = [0x01021994, 0x958458f6];

/** Bytes on the disk, each file once. */
export async function unlinkedBytes(): Promise<{ bytes: number }> {
  const until = performance.now() + LOOK_FOR_MS;
  const seen = new Set<string>();
  let bytes = 0n;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const descriptor of await readdir(`/proc/${pid}/fd`).catch(ignoreEnded([]))) {
      if (performance.now() > until) return { bytes: Number(bytes) };
      const path = `/proc/${pid}/fd/${descriptor}`;
      const stats = await stat(path, { bigint: true }).catch(() => null); // closed meanwhile
      if (!stats?.isFile() || stats.nlink > 0n || stats.blocks === 0n) continue;
      const file = `${stats.dev}:${stats.ino}`;
      if (seen.has(file)) continue;
      seen.add(file);
      const type = await statfs(path).then(
        ({ type }) => type,
        () => null,
      );
      if (type !== null && !IN_MEMORY.includes(type)) bytes += stats.blocks * BLOCK_BYTES;
    }
  }
  return { bytes: Number(bytes) };
}
