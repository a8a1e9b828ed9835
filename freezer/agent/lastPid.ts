/**
 * Keeps the process ids of the job and those of the agent's own processes apart: a restored process gets the id that it had, and where
 * one of the agent's has it already, CRIU cannot restore the job. A job's are those above a number, in every container that it comes
 * to: the kernel gives them one after the other, so it is told where to go on, at the start and after each restore.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toolbox } from '../toolbox.ts';
import { runProgram } from './program.ts';
import { places } from './protocol.ts';

/** The agent's own are below. When all others were used once the kernel begins again at 300 (RESERVED_PIDS in kernel/pid.c), which they are below, too. */
const LAST_OF_OURS = 999;
/** Among the files that move: a process id that was given away lately is not to be used again soon. */
const FILE = join(places.logs, 'last-pid');

/** To be called before the job's first process is started. Throws `FreezerError` `failed`. */
export async function startAboveOurs(): Promise<void> {
  await runProgram(toolbox.lastPid, [String(LAST_OF_OURS)]);
}

/** To be called while the job stands still, before its files are read. */
export async function keepLastPid(): Promise<void> {
  await writeFile(FILE, await readFile('/proc/sys/kernel/ns_last_pid'));
}

/** For `criu restore`: makes processes that the job starts from then on get ids above those that it had. */
export async function goOnAboveLast(): Promise<{ options: string[]; env: Record<string, string> }> {
  const kept = Number(await readFile(FILE, 'utf8').catch(() => '')); // a checkpoint of an older Floe has none
  const most = Number(await readFile('/proc/sys/kernel/pid_max', 'utf8')) - 1;
  const last = Number.isSafeInteger(kept) ? Math.min(Math.max(kept, LAST_OF_OURS), most) : LAST_OF_OURS;
  return { options: ['--action-script', toolbox.lastPid], env: { FLOE_LAST_PID: String(last) } };
}
