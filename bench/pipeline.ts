/** Programs joined by pipes of their own, as a shell would join them: no byte goes through this process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

export type Command = readonly [program: string, ...args: string[]];

export interface PipelineEnds {
  /** Descriptor that the first one reads. Default nothing. */
  readonly input?: number;
  /** Descriptor that the last one writes. Default nothing. */
  readonly output?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Resolves when all have ended; throws `Error` with the words of the first that failed. */
export async function runPipeline(commands: readonly Command[], ends: PipelineEnds): Promise<void> {
  const env = { ...process.env, ...ends.env };
  let input: ChildProcess['stdout'] | number | 'ignore' = ends.input ?? 'ignore';
  // All in one turn of the event loop: a pipe that is handed on at once is never read here.
  const running = commands.map(([program, ...args], at) => {
    const output = at < commands.length - 1 ? 'pipe' : (ends.output ?? 'ignore');
    const child = spawn(program, args, { stdio: [input, output, 'pipe'], env, signal: ends.signal });
    if (typeof input === 'object') input?.destroy();
    input = child.stdout;
    return endOf(program, child);
  });
  const failed = (await Promise.allSettled(running)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

async function endOf(program: string, child: ChildProcess): Promise<void> {
  const words = child.stderr ? text(child.stderr) : '';
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  if (code !== 0) throw new Error(`${program} ended with ${signal ?? code}: ${(await words).trim().slice(-2000)}`);
}
