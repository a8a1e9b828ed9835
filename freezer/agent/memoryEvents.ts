/** What the kernel says of the container's own memory, as a cgroup namespace or the engine's mount shows it to the container. */
import { readFile } from 'node:fs/promises';

/** The container's control group of version 2 and of version 1, each with a line `oom_kill COUNT`. */
const FILES = ['/sys/fs/cgroup/memory.events', '/sys/fs/cgroup/memory/memory.oom_control'];

export async function memoryEvents(): Promise<{ killed: boolean }> {
  for (const path of FILES) {
    const text = await readFile(path, 'utf8').catch(() => ''); // of the other version, or not to be seen
    if (hasKilled(text)) return { killed: true };
  }
  return { killed: false };
}

/** Whether the count of processes killed for want of memory is above zero. */
export function hasKilled(events: string): boolean {
  return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0) > 0;
}
