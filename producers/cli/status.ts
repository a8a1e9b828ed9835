/** `floe status`: all about one job. */
import type { Command } from 'commander';
import type { Progress, RunRecord } from '../../jobs/record.ts';
import type { JobView } from '../view.ts';
import { describeExceptions, formatBytes, formatDuration, formatTable, formatTime, plain } from './format.ts';
import { type CommonOptions, finishCommand, outputWidth, print, printJson, withFloe } from './shared.ts';
import { describeEnd } from './wait.ts';

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('Show all about one job: state, checkpoint, progress, runs.')
    .argument('<id>')
    .action((id: string, options: CommonOptions) =>
      withFloe(options, async (floe) => {
        const job = await floe.get(id);
        await (options.json ? printJson(job) : print(formatStatus(job, Date.now(), outputWidth())));
      }),
    );
  finishCommand(command, [
    'floe status default-k3v9x2m4qa',
    'floe status default-k3v9x2m4qa --json | jq .checkpointAt',
  ]);
}

export function formatStatus(job: JobView, now: number, width: number): string {
  const facts: [string, string | null][] = [
    ['job', `${job.id}  ${plain(job.name)}`],
    ['state', describeState(job, now)],
    ['end', job.result ? plain(describeEnd(job.result)) : null],
    ['problem', job.problem ? plain(job.problem) : null],
    ['progress', job.progress ? describeProgress(job.progress) : null],
    ['command', job.spec ? plain(job.spec.command.join(' ')) : null],
    ['image', describeImage(job)],
    ['secrets', describeSecrets(job)],
    ['submitted', job.submittedAt ? when(job.submittedAt, now) : null],
    ['finished', job.finishedAt ? when(job.finishedAt, now) : null],
    [
      'checkpoint',
      job.checkpoint ? `${job.checkpoint}${job.checkpointAt ? `, ${when(job.checkpointAt, now)}` : ''}` : null,
    ],
    ['time', describeTime(job)],
    ['failures', job.failures + job.crashes > 0 ? `${job.failures} of the program, ${job.crashes} of workers` : null],
    ['input', job.input ? formatBytes(job.input.sizeBytes) : null],
    ['outputs', describeOutputs(job)],
    ['asked for', describeRequests(job, now)],
  ];
  const shown = facts.filter(([, value]) => value !== null);
  const block = shown.map(([label, value]) => `${label.padEnd(11)} ${value}\n`).join('');
  return job.runs.length === 0 ? block : `${block}\n${formatRuns(job.runs, now, width)}`;
}

/** As it was submitted, and the one that it has had since its first run. */
function describeImage({ spec, image }: JobView): string | null {
  const name = spec?.image === undefined ? null : plain(spec.image);
  if (image === null || image === name) return name;
  return name === null ? plain(image) : `${name}, which is ${plain(image)}`;
}

/** Their names; Floe has nothing else of them in the queue. */
function describeSecrets({ spec }: JobView): string | null {
  const names = spec?.secrets?.map(({ name, env }) => (env === undefined ? name : `${name} as ${env}`));
  return names?.length ? names.join(', ') : null;
}

function describeState(job: JobView, now: number): string {
  if (job.state === 'frozen') {
    return `frozen${job.frozenSince ? ` for ${formatDuration(now - job.frozenSince)}` : ''}, waits for a worker`;
  }
  return job.worker && job.finishedAt === null ? `${job.state} on ${job.worker}, run ${job.runs.length}` : job.state;
}

/** `sending: 1.2 GiB of 4.0 GiB (30 %) at 310 MiB/s, 9.2 s left` */
export function describeProgress({ step, doneBytes, totalBytes, bytesPerSecond, etaMs }: Progress): string {
  const percent = totalBytes ? ` (${Math.floor((100 * doneBytes) / totalBytes)} %)` : '';
  const total = totalBytes === null ? '' : ` of ${formatBytes(totalBytes)}${percent}`;
  const rate = bytesPerSecond === null ? '' : ` at ${formatBytes(bytesPerSecond)}/s`;
  const left = etaMs === null ? '' : `, ${formatDuration(etaMs)} left`;
  return `${plain(step)}: ${formatBytes(doneBytes)}${total}${rate}${left}`;
}

function describeTime(job: JobView): string {
  const isRunning = job.runs.at(-1)?.endedAt === null; // the sum is written at the end of a run
  const parts = [
    ...(isRunning ? [] : [`ran ${formatDuration(job.ranMs)}`]),
    `frozen ${formatDuration(job.frozenMs)}`,
    `away ${formatDuration(job.awayMs)}`,
    `lost ${formatDuration(job.lostMs)}`,
  ];
  return parts.join(', ');
}

function describeOutputs(job: JobView): string | null {
  const outputs = job.result?.outputs;
  if (!outputs) return null;
  const missing = outputs.unmatched.length > 0 ? `; nothing matched ${plain(outputs.unmatched.join(', '))}` : '';
  const exceptions = outputs.exceptions ? `; ${describeExceptions(outputs.exceptions)}` : '';
  return `${outputs.files} files, ${formatBytes(outputs.sizeBytes)}${missing}${exceptions}`;
}

function describeRequests(job: JobView, now: number): string | null {
  if (job.finishedAt !== null) return null;
  const asked = [
    job.cancelRequestedAt ? `cancel, ${when(job.cancelRequestedAt, now)}` : '',
    job.checkpointRequestedAt && job.checkpointRequestedAt > (job.checkpointAt ?? 0)
      ? `checkpoint, ${when(job.checkpointRequestedAt, now)}`
      : '',
  ].filter(Boolean);
  return asked.length === 0 ? null : asked.join('; ');
}

function formatRuns(runs: readonly RunRecord[], now: number, width: number): string {
  const heading = ['RUN', 'WORKER', 'STARTED', 'LASTED', 'BEGAN', 'END', 'CHECKPOINTS', 'FROZEN', 'SENT', 'LOST'];
  const rows = runs.map((run, at) => [
    String(at + 1),
    run.worker,
    formatTime(run.startedAt),
    formatDuration((run.endedAt ?? now) - run.startedAt),
    run.thawedFrom ? `thawed in ${formatDuration(run.thawMs ?? 0)}` : 'afresh',
    run.end ?? '-',
    String(run.checkpoints),
    formatDuration(run.frozenMs),
    formatBytes(run.bytesSent),
    formatDuration(run.lostMs),
  ]);
  return formatTable(heading, rows, width, 1) + describePassedOver(runs);
}

/** Below the table, in full: why a run did not begin from a newer checkpoint. */
function describePassedOver(runs: readonly RunRecord[]): string {
  const lines = runs.flatMap(({ passedOver }, at) =>
    passedOver.map((why) => `run ${at + 1} passed over ${plain(why)}\n`),
  );
  return lines.length === 0 ? '' : `\n${lines.join('')}`;
}

function when(at: number, now: number): string {
  return `${formatTime(at)} (${formatDuration(Math.max(0, now - at))} ago)`;
}
