/**
 * Who a run's folder and control group belong to, told by the beginning of their names: process id and start time of the worker,
 * because ids alone are used again (a worker that is a container's main process has the same one each time).
 * Workers in different PID namespaces must not share a state folder.
 */
import { readFile } from 'node:fs/promises';

/** `<process id>.<start time>` of this process. */
export async function ownerName(): Promise<string> {
  return `${process.pid}.${await startTime(process.pid)}`;
}

/** Whether the owner that a name begins with is still there. Names of another kind belong to nobody. */
export async function isOwnerAlive(name: string): Promise<boolean> {
  const match = /^(\d+)\.(\d+)/.exec(name);
  return match !== null && (await startTime(Number(match[1]))) === match[2];
}

/** Field 22 of proc_pid_stat(5), in clock ticks since boot; null when there is no such process. */
async function startTime(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return null;
    throw error;
  });
  // The second field is the program's name in parentheses and may hold anything.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}
