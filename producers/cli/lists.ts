/** `floe ls` and `floe workers`. */
import type { Command } from 'commander';
import { JobState } from '../../jobs/state.ts';
import { choiceFlag, integerFlag } from './flags.ts';
import { formatDuration, formatTable } from './format.ts';
import { type CommonOptions, finishCommand, note, outputWidth, print, printJson, withFloe } from './shared.ts';
import { describeProgress } from './status.ts';

interface ListFlags extends CommonOptions {
  readonly pool?: string;
  readonly state?: JobState[];
  readonly limit: number;
}

export function addLs(program: Command): void {
  const command = program
    .command('ls')
    .description('List jobs, the newest first.')
    .option('--pool <pool>', 'only jobs of this pool')
    .option(
      '--state <state>',
      `only jobs in this state, may be repeated: ${JobState.options.join(', ')}`,
      choiceFlag('--state', JobState.options),
    )
    .option('--limit <number>', 'at most this many', integerFlag('--limit'), 100)
    .action(listJobs);
  finishCommand(command, ['floe ls', 'floe ls --state running --state frozen', 'floe ls --json | jq -r ".[].id"']);
}

async function listJobs(flags: ListFlags): Promise<void> {
  await withFloe(flags, async (floe) => {
    const jobs = await floe.list({ pool: flags.pool, state: flags.state, limit: flags.limit });
    if (flags.json) return printJson(jobs);
    const now = Date.now();
    const rows = jobs.map((job) => [
      job.id,
      job.name,
      job.state,
      job.finishedAt === null ? (job.worker ?? '-') : '-',
      job.submittedAt === null ? '-' : formatDuration(Math.max(0, now - job.submittedAt)),
      job.progress && job.finishedAt === null ? describeProgress(job.progress) : '',
    ]);
    await print(formatTable(['ID', 'NAME', 'STATE', 'WORKER', 'AGE', 'PROGRESS'], rows, outputWidth(), 1));
    if (jobs.length === flags.limit) note(`Only the newest ${flags.limit}; --limit shows more.`);
  });
}

export function addWorkers(program: Command): void {
  const command = program
    .command('workers')
    .description('List the workers that are alive.')
    .action((options: CommonOptions) =>
      withFloe(options, async (floe) => {
        const workers = await floe.workers();
        if (options.json) return printJson(workers);
        const rows = workers.map((worker) => [
          worker.name,
          worker.notice ? `${worker.state} (${worker.notice.source})` : worker.state,
          worker.pools.join(','),
          `${worker.jobs.length} of ${worker.slots}`,
          worker.jobs.join(' ') || '-',
          formatDuration(Math.max(0, Date.now() - worker.startedAt)),
          worker.criuVersion,
        ]);
        const heading = ['NAME', 'STATE', 'POOLS', 'SLOTS', 'JOBS', 'UP', 'CRIU'];
        await print(formatTable(heading, rows, outputWidth(), 4));
      }),
    );
  finishCommand(command, ['floe workers', 'floe workers --json | jq -r ".[].name"']);
}
