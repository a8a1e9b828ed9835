/** The process table, for tests that look at what a killed process leaves behind. */
import { readdir, readFile } from 'node:fs/promises';

export interface RunningProcess {
  readonly pid: number;
  /** Clock ticks since boot: tells it from a later process of the same number. */
  readonly startedAt: string;
  readonly command: readonly string[];
}

interface Entry extends Omit<RunningProcess, 'command'> {
  readonly parent: number;
}

/** A process and all its descendants, in whatever namespace they are. Empty when there is no such process. */
export async function processTree(pid: number): Promise<RunningProcess[]> {
  const table = await readTable();
  const found: Entry[] = table.filter((entry) => entry.pid === pid);
  // Grows while it is walked: children of children come last.
  for (const { pid: parent } of found) found.push(...table.filter((entry) => entry.parent === parent));
  return Promise.all(found.map(async ({ pid, startedAt }) => ({ pid, startedAt, command: await commandOf(pid) })));
}

/** Those that still run. */
export async function stillRunning(processes: readonly RunningProcess[]): Promise<RunningProcess[]> {
  const table = new Set((await readTable()).map(({ pid, startedAt }) => `${pid} ${startedAt}`));
  return processes.filter(({ pid, startedAt }) => table.has(`${pid} ${startedAt}`));
}

/** Every process with this text in its command line or environment. */
export async function processesNaming(text: string): Promise<RunningProcess[]> {
  const entries = await readTable();
  const found = await Promise.all(
    entries.map(async ({ pid, startedAt }) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''); // it has ended meanwhile
      return { pid, startedAt, command: await commandOf(pid), environment };
    }),
  );
  return found
    .filter(({ command, environment }) => `${command.join(' ')}${environment}`.includes(text))
    .map(({ pid, startedAt, command }) => ({ pid, startedAt, command }));
}

/** Every process that is no zombie. */
async function readTable(): Promise<Entry[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const entries = await Promise.all(pids.map(readEntry));
  return entries.filter((entry) => entry !== null);
}

/** proc(5): `pid (name) state parent …`, the 22nd field is the start time; a name may hold spaces and brackets. */
async function readEntry(pid: number): Promise<Entry | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null); // it has ended meanwhile
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return null;
  return { pid, parent: Number(fields[1]), startedAt: fields[19] ?? '' };
}

async function commandOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''); // it has ended meanwhile
  return text.split('\0').slice(0, -1);
}
