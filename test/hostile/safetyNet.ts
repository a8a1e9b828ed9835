/**
 * What keeps a hostile run from harming the machine when Floe's own bounds fail: a control group for the workers and all
 * that they start, and a file system of bounded size for what they keep. Both are generous: the jobs meet Floe's bounds
 * first, and an honest job that meets these is a breach. A machine without them (control groups of version 1, loop
 * devices) runs the jobs all the same.
 */
import { mkdir, open, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

const PIDS = 6000;
const MEMORY_BYTES = 8 * 2 ** 30;
/** Sparse: what the jobs take. Each slot of the workers has its share of it. */
const DISK_BYTES = 40 * 2 ** 30;
const CGROUPS = '/sys/fs/cgroup';

export class SafetyNet implements AsyncDisposable {
  readonly #groups: string[] = [];

  static async make(name: string): Promise<SafetyNet> {
    const net = new SafetyNet();
    await net.#add('pids', name, 'pids.max', PIDS);
    await net.#add('memory', name, 'memory.limit_in_bytes', MEMORY_BYTES);
    return net;
  }

  async hold(pid: number): Promise<void> {
    for (const group of this.#groups) await writeFile(join(group, 'cgroup.procs'), String(pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const group of this.#groups) await removeGroup(group);
  }

  async #add(controller: string, name: string, file: string, value: number): Promise<void> {
    const membership = await readFile('/proc/self/cgroup', 'utf8');
    const own = new RegExp(`^\\d+:${controller}:(.*)$`, 'm').exec(membership)?.[1];
    if (own === undefined) return;
    const group = join(CGROUPS, controller, own, name);
    await mkdir(group);
    this.#groups.push(group);
    await writeFile(join(group, file), String(value));
  }
}

/** Killed processes are in their group until the kernel has buried them; nobody is told when. */
async function removeGroup(group: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      return await rmdir(group);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      await delay(50);
    }
  }
}

/** Mounts a file system of bounded size at `folder`. False where this machine has no loop devices. */
export async function mountBoundedDisk(folder: string, stack: AsyncDisposableStack): Promise<boolean> {
  const image = `${folder}.ext4`;
  stack.defer(() => rm(image, { force: true }));
  {
    await using file = await open(image, 'w', 0o600);
    await file.truncate(DISK_BYTES);
  }
  await execa('mkfs.ext4', ['-q', '-m', '0', '-F', image]);
  const { exitCode } = await execa('mount', ['-o', 'loop', image, folder], { reject: false });
  if (exitCode !== 0) return false;
  stack.defer(async () => {
    await execa('umount', ['--lazy', folder], { reject: false });
  });
  return true;
}
