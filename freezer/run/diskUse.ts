/**
 * What a job has on the disk, by allocated blocks: holes of sparse files take none. GNU `find` looks, which opens folder by folder beneath
 * the one it was given, follows no link, and holds no more in memory than some of one folder's names, whatever the job made.
 */
import { execa } from 'execa';

export interface DiskUse {
  readonly bytes: number;
  /** Files, folders and links, by their names. */
  readonly files: number;
}

/** Blocks, type and number of names, and no name: those are the job's. */
const FORMAT = '%b %y %n\n';
const BLOCK_BYTES = 512;

/**
 * In a process of its own, behind all other work of the machine. Stops counting beyond `limits`: a job that makes files as fast as they
 * are counted would else never be found to have too many. Rejects when the signal aborts, and where `find` cannot be run.
 */
export async function diskUse(directory: string, signal: AbortSignal, limits?: DiskUse): Promise<DiskUse> {
  const find = execa('nice', ['-n', '19', 'find', directory, '-xdev', '-printf', FORMAT], {
    // What vanishes while it is counted is an error to `find`, and told in a line each.
    reject: false,
    stdin: 'ignore',
    stderr: 'ignore',
    buffer: false,
    cancelSignal: signal,
    forceKillAfterDelay: false,
    killSignal: 'SIGKILL',
  });
  let [bytes, files] = [0, 0];
  for await (const line of find) {
    const [blocks, type, names] = line.split(' ');
    // Its share of a file that has several: they add up to the whole.
    bytes += (Number(blocks) * BLOCK_BYTES) / (type === 'd' ? 1 : Number(names));
    files += 1;
    if (limits && (bytes > limits.bytes || files > limits.files)) break;
  }
  find.kill();
  const { shortMessage } = await find;
  signal.throwIfAborted();
  if (files === 0) throw new Error(`${directory} cannot be measured: ${shortMessage ?? 'find said nothing'}`);
  return { bytes: Math.ceil(bytes), files };
}
