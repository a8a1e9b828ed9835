/** `floe gc`. */
import type { Command } from 'commander';
import {
  type CommonOptions,
  durationFlag,
  finishCommand,
  formatBytes,
  formatTable,
  outputWidth,
  print,
  printJson,
  withConnections,
} from '../../producers/cli.ts';
import type { Garbage } from '../garbage.ts';

const HOUR_MS = 3_600_000;

interface GcFlags extends CommonOptions {
  readonly dryRun?: boolean;
  readonly olderThan?: number;
}

export function addGc(program: Command): void {
  const command = program
    .command('gc')
    .description('Remove from the store what no checkpoint needs, and the checkpoints of jobs that have ended.')
    .option('--dry-run', 'only tell what would be removed')
    .option(
      '--older-than <duration>',
      'leave what is younger (default: 1h; 24h for jobs that Redis does not know)',
      durationFlag('--older-than'),
    )
    .action(gc);
  finishCommand(command, ['floe gc --dry-run', 'floe gc', 'floe gc --older-than 7d --json']);
  command.addHelpText(
    'after',
    `
Jobs may run meanwhile: what they upload is left alone. Inputs, outputs, logs and results are never removed; that is for
\`floe rm\`. A store that several Redis servers share looks to each as if it had unknown jobs: give a long --older-than.`,
  );
}

async function gc(flags: GcFlags): Promise<void> {
  const isDryRun = flags.dryRun ?? false;
  await withConnections(flags, async (connections) => {
    const { collectGarbage } = await import('../index.ts');
    const ages = { olderThanMs: flags.olderThan ?? HOUR_MS, unknownOlderThanMs: flags.olderThan ?? 24 * HOUR_MS };
    const parts = { redis: connections.redis, store: await connections.store() };
    const jobs = await Array.fromAsync(collectGarbage({ ...parts, ...ages, isDryRun }));
    const sum = (of: (each: Garbage) => number) => jobs.reduce((total, each) => total + of(each), 0);
    const [objects, sizeBytes] = [sum((each) => each.objects), sum((each) => each.sizeBytes)];
    if (flags.json) return printJson({ dryRun: isDryRun, objects, sizeBytes, jobs });
    for (const { id, problem } of jobs) if (problem) await print(`${id} is left as it is: ${problem}\n`);
    const cleared = jobs.filter((each) => each.objects > 0);
    if (cleared.length > 0)
      await print(formatTable(['JOB', 'WHY', 'OBJECTS', 'BYTES'], cleared.map(toRow), outputWidth()));
    const verb = isDryRun ? 'would be removed' : 'removed';
    await print(
      cleared.length === 0 ? 'Nothing to remove.\n' : `${objects} objects, ${formatBytes(sizeBytes)} ${verb}.\n`,
    );
  });
}

const WHY: Record<Garbage['why'], string> = {
  leftovers: 'uploads that failed',
  ended: 'the job has ended',
  unknown: 'Redis does not know the job',
  unreadable: 'its objects are broken',
};

function toRow({ id, why, objects, sizeBytes }: Garbage): string[] {
  return [id, WHY[why], String(objects), formatBytes(sizeBytes)];
}
