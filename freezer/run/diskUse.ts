/**
 * What a job has on the disk, by allocated blocks: holes of sparse files take none. `du` of the GNU core utilities counts, which opens folder by
 * folder beneath the one it was given, follows no link, and holds no more in memory than one folder's names, whatever the job made.
 */
import { execa } from 'execa';

export interface DiskUse {
  readonly bytes: number;
  /** Files, folders and links. */
  readonly files: number;
}

/** In processes of their own, behind all other work of the machine. Rejects when the signal aborts, and where `du` cannot be run. */
export async function diskUse(directory: string, signal: AbortSignal): Promise<DiskUse> {
  const bytes = await count(['--block-size=1'], directory, signal);
  const files = await count(['--inodes'], directory, signal);
  return { bytes, files };
}

async function count(options: readonly string[], directory: string, signal: AbortSignal): Promise<number> {
  const arguments_ = ['-n', '19', 'du', '--summarize', '--one-file-system', ...options, '--', directory];
  const { stdout, shortMessage } = await execa('nice', arguments_, {
    // What vanishes while it is counted is an error to `du`, and told in a line each.
    reject: false,
    stdin: 'ignore',
    stderr: 'ignore',
    maxBuffer: 10_000,
    cancelSignal: signal,
    forceKillAfterDelay: false,
    killSignal: 'SIGKILL',
  });
  signal.throwIfAborted();
  const counted = /^\d+/.exec(stdout ?? '')?.[0];
  if (counted === undefined) throw new Error(`${directory} cannot be measured: ${shortMessage ?? 'du said nothing'}`);
  return Number(counted);
}
