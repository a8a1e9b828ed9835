/** The table at the end, and the line for programs. */
import { styleText } from 'node:util';
import type { JobView } from '../../producers/index.ts';
import { megabytes, seconds } from './story.ts';
import { short } from './work.ts';

export interface Outcome {
  readonly name: string;
  readonly job: JobView;
  /** sha256 of what the job made, null when it made nothing, and of what an undisturbed run makes. */
  readonly made: string | null;
  readonly undisturbed: string;
}

/** `lostSeconds`: work that had to be done again, over all jobs. `identical`: every job made what an undisturbed run makes. */
export interface Figures {
  readonly identical: boolean;
  readonly interruptions: number;
  readonly lostSeconds: number;
  readonly seconds: number;
  readonly jobs: readonly JobFigures[];
}

interface JobFigures {
  readonly name: string;
  readonly id: string;
  readonly state: string;
  readonly identical: boolean;
  readonly sha256: string | null;
  readonly runs: number;
  readonly workers: readonly string[];
  readonly frozenSeconds: number;
  readonly awaySeconds: number;
  readonly bytesSent: number;
  readonly lostSeconds: number;
}

export function figures(outcomes: readonly Outcome[], interruptions: number, elapsedSeconds: number): Figures {
  const jobs = outcomes.map(({ name, job, made, undisturbed }) => ({
    name,
    id: job.id,
    state: job.state,
    identical: job.state === 'succeeded' && made === undisturbed,
    sha256: made,
    runs: job.runs.length,
    workers: job.runs.map(({ worker }) => worker),
    frozenSeconds: round(job.frozenMs / 1000),
    awaySeconds: round(job.awayMs / 1000),
    bytesSent: job.bytesSent,
    lostSeconds: round(job.lostMs / 1000),
  }));
  return {
    identical: jobs.every(({ identical }) => identical),
    interruptions,
    lostSeconds: round(jobs.reduce((sum, job) => sum + job.lostSeconds, 0)),
    seconds: round(elapsedSeconds),
    jobs,
  };
}

export function print(outcomes: readonly Outcome[], { identical }: Figures): void {
  const header = ['job', 'runs', 'workers', 'frozen', 'away', 'sent', 'work lost'];
  const rows = outcomes.map(({ name, job }) => [
    name,
    String(job.runs.length),
    job.runs.map(({ worker }) => worker.replace(/^machine-/, '')).join(' → '),
    seconds(job.frozenMs),
    seconds(job.awayMs),
    megabytes(job.bytesSent),
    seconds(job.lostMs),
  ]);
  const widths = header.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('   ')
      .trimEnd();
  process.stdout.write(`\n${styleText('bold', line(header))}\n${rows.map(line).join('\n')}\n\n`);
  for (const { name, made, undisturbed } of outcomes) {
    const verdict = made === undisturbed ? styleText('green', 'identical') : styleText('red', 'DIFFERENT');
    process.stdout.write(
      `${name.padEnd(10)}sha256 ${made ? short(made) : 'nothing'}…   undisturbed run ${short(undisturbed)}…   ${verdict}\n`,
    );
  }
  const verdict = identical
    ? 'Nobody could tell from the outputs that anything had happened.'
    : 'The outputs are not what they should be.';
  process.stdout.write(`\n${styleText(identical ? 'green' : 'red', verdict)}\n`);
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
