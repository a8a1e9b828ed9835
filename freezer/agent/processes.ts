/** The job's process tree, as /proc shows it inside the container. */
import { readdir, readFile } from 'node:fs/promises';
import type { MemorySize } from './protocol.ts';

/** The process and all its descendants, parents first. A process that ends meanwhile is left out. */
export async function processTree(root: number): Promise<number[]> {
  const children = await childrenOf(root);
  const below = await Promise.all(children.map(processTree));
  return [root, ...below.flat()];
}

async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(ignoreEnded([]));
  const lists = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(ignoreEnded(''))),
  );
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
}

/** Bytes of memory that the processes have and no file does, swapped out or not. What they share counts for each. */
export async function memoryOf(pids: readonly number[]): Promise<MemorySize> {
  const statuses = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/status`, 'utf8').catch(ignoreEnded(''))));
  const sizes = statuses.map(ownMemory);
  return { memoryBytes: sizes.reduce((sum, size) => sum + size, 0), largestBytes: Math.max(0, ...sizes) };
}

function ownMemory(status: string): number {
  const counts = status.matchAll(/^(?:RssAnon|RssShmem|HugetlbPages|VmSwap):\s+(\d+) kB$/gm);
  return [...counts].reduce((sum, [, kibibytes]) => sum + Number(kibibytes) * 1024, 0);
}

/** Answers `instead` for a process that ended while it was looked at; anything else is an error. */
export function ignoreEnded<T>(instead: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return instead;
    throw error;
  };
}
