/** The job's process tree, as /proc shows it inside the container. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { type Obstacle, obstacles } from '../criu/obstacles.ts';
import { FreezerError } from '../errors.ts';

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

const UNDUMPABLE: readonly [pattern: RegExp, obstacle: Obstacle][] = [
  [/^anon_inode:\[io_uring\]/, obstacles.ioUring],
  [/^anon_inode:\[userfaultfd\]/, obstacles.userfaultfd],
  [/^anon_inode:\[perf_event\]/, obstacles.perfEvent],
  [/^anon_inode:bpf/, obstacles.bpf],
  [/^\/secretmem \(deleted\)$/, obstacles.secretMemory],
  [/^anon_inode:kvm/, { what: 'a virtual machine', remedy: 'Virtual machines cannot be frozen.' }],
  [/^\/dev\/(nvidia|kfd|dri\/|fuse|kvm|vfio)/, obstacles.device],
];

/**
 * Looks through the open files of the tree for what CRIU is known to refuse.
 * Throws `FreezerError` `cannotFreeze` that names the process, the descriptor and the remedy.
 */
export async function refuseUndumpable(root: number): Promise<void> {
  for (const pid of await processTree(root)) {
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(ignoreEnded([]));
    for (const descriptor of descriptors) {
      const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(ignoreEnded(''));
      const found = UNDUMPABLE.find(([pattern]) => pattern.test(target));
      if (found) throw await undumpable(pid, descriptor, found[1]);
    }
  }
}

async function undumpable(pid: number, descriptor: string, obstacle: Obstacle): Promise<FreezerError> {
  const name = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(ignoreEnded('a process'))).trim();
  return new FreezerError(
    'cannotFreeze',
    `The job cannot be frozen: ${name} (process ${pid}) holds ${obstacle.what} (descriptor ${descriptor}).`,
    obstacle.remedy,
  );
}

/** Answers `instead` for a process that ended while it was looked at; anything else is an error. */
function ignoreEnded<T>(instead: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return instead;
    throw error;
  };
}
