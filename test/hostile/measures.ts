/** How hostile jobs weigh on the workers that run them: delays of the event loop beside an idle process', and memory. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

export const LOOP_DELAY = join(import.meta.dirname, 'loopDelay.ts');

const Sample = z.object({ from: z.int(), to: z.int(), maxMs: z.number(), rssBytes: z.int() });
type Sample = z.output<typeof Sample>;

/** What the report says of one worker. */
export interface Weight {
  readonly worker: string;
  /** The longest delay of its event loop. */
  readonly maxMs: number;
  /** By how much a delay went beyond what the idle process had at that time, at most. */
  readonly excessMs: number;
  /** When that was, ms since 1970. */
  readonly excessAt: number;
  readonly firstRssBytes: number;
  readonly lastRssBytes: number;
  readonly maxRssBytes: number;
}

/** A process that only measures itself. */
export class IdleProcess implements AsyncDisposable {
  readonly file: string;
  readonly #child;

  constructor(folder: string) {
    this.file = join(folder, 'idle.delays');
    const command = [
      '--pdeathsig',
      'KILL',
      process.execPath,
      '--import',
      LOOP_DELAY,
      '--eval',
      'setInterval(() => undefined, 2 ** 30)',
    ];
    const env = { ...process.env, FLOE_HOSTILE_LOOP_DELAYS: this.file };
    this.#child = spawn('setpriv', command, { env, stdio: 'ignore' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    if (this.#child.kill('SIGKILL')) await ended;
  }
}

/** Null for a worker that wrote nothing. */
export async function weigh(worker: string, file: string, idleFile: string): Promise<Weight | null> {
  const [samples, idle] = await Promise.all([readSamples(file), readSamples(idleFile)]);
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return null;
  const excesses = samples.map((sample) => ({ at: sample.to, ms: sample.maxMs - maxDuring(idle, sample) }));
  const worst = excesses.reduce((a, b) => (b.ms > a.ms ? b : a));
  return {
    worker,
    maxMs: Math.max(...samples.map(({ maxMs }) => maxMs)),
    excessMs: worst.ms,
    excessAt: worst.at,
    firstRssBytes: first.rssBytes,
    lastRssBytes: last.rssBytes,
    maxRssBytes: Math.max(...samples.map(({ rssBytes }) => rssBytes)),
  };
}

function maxDuring(idle: readonly Sample[], { from, to }: Sample): number {
  return Math.max(0, ...idle.filter((each) => each.to >= from && each.from <= to).map(({ maxMs }) => maxMs));
}

async function readSamples(file: string): Promise<Sample[]> {
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
  // The last line may be half written.
  return lines.filter((line) => line.endsWith('}')).map((line) => Sample.parse(JSON.parse(line)));
}
