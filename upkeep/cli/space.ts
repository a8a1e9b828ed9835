/** `floe du` and `floe rm`: what jobs take in the store, and how it is had back. */
import type { Command } from 'commander';
import {
  type CommonOptions,
  finishCommand,
  formatBytes,
  formatTable,
  outputWidth,
  print,
  printJson,
  withConnections,
} from '../../producers/cli.ts';
import type { JobUsage } from '../usage.ts';

export function addDu(program: Command): void {
  const command = program
    .command('du')
    .description('Show what jobs take in the store, the largest first.')
    .argument('[id]', 'only this job')
    .action((id: string | undefined, options: CommonOptions) =>
      withConnections(options, async (connections) => {
        const { requireKnown, usageOf } = await import('../index.ts');
        if (id !== undefined) await requireKnown(connections, id);
        const jobs = await usageOf(await connections.store(), id);
        if (options.json) return printJson(jobs);
        const rows = [...jobs, ...(jobs.length > 1 ? [totalOf(jobs)] : [])].map(toRow);
        await print(formatTable(HEADING, rows, outputWidth()));
      }),
    );
  finishCommand(command, ['floe du', 'floe du default-k3v9x2m4qa', 'floe du --json | jq "map(.total) | add"']);
}

const HEADING = ['JOB', 'INPUT', 'CHECKPOINTS', 'LOGS', 'OUTPUTS', 'OTHER', 'TOTAL'];

function toRow({ id, input, checkpoints, logs, outputs, other, total }: JobUsage): string[] {
  return [id, ...[input, checkpoints, logs, outputs, other, total].map(formatBytes)];
}

function totalOf(jobs: readonly JobUsage[]): JobUsage {
  const sum = (kind: Exclude<keyof JobUsage, 'id'>) => jobs.reduce((total, job) => total + job[kind], 0);
  const [input, checkpoints, logs] = [sum('input'), sum('checkpoints'), sum('logs')];
  return { id: 'total', input, checkpoints, logs, outputs: sum('outputs'), other: sum('other'), total: sum('total') };
}

interface RmFlags extends CommonOptions {
  readonly checkpoints?: boolean;
}

export function addRm(program: Command): void {
  const command = program
    .command('rm')
    .description('Remove a job that has ended, with all that it keeps: outputs, logs, input, checkpoints, record.')
    .argument('<id>')
    .argument('[checkpoint]', 'only this checkpoint')
    .option('--checkpoints', 'only its checkpoints')
    .action(rm);
  finishCommand(command, [
    'floe rm default-k3v9x2m4qa',
    'floe rm default-k3v9x2m4qa --checkpoints',
    'floe rm default-k3v9x2m4qa 00000002-000005',
  ]);
}

async function rm(id: string, checkpoint: string | undefined, flags: RmFlags): Promise<void> {
  await withConnections(flags, async (connections) => {
    const { removeCheckpoints, removeJob } = await import('../index.ts');
    const isPart = checkpoint !== undefined || flags.checkpoints === true;
    const removed = isPart ? await removeCheckpoints(connections, id, checkpoint) : await removeJob(connections, id);
    if (flags.json) return printJson({ id, ...removed });
    await print(`${removed.objects} objects, ${formatBytes(removed.sizeBytes)} removed.\n`);
  });
}
