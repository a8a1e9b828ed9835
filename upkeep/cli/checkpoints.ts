/** `floe checkpoints`. */
import type { Command } from 'commander';
import {
  type CommonOptions,
  finishCommand,
  formatBytes,
  formatTable,
  formatTime,
  outputWidth,
  print,
  printJson,
  withConnections,
} from '../../producers/cli.ts';
import type { ListedCheckpoint } from '../checkpoints.ts';

export function addCheckpoints(program: Command): void {
  const command = program
    .command('checkpoints')
    .description("List a job's checkpoints, the newest first.")
    .argument('<id>')
    .action((id: string, options: CommonOptions) =>
      withConnections(options, async (connections) => {
        const { knownCheckpoints, listJobCheckpoints, requireKnown } = await import('../index.ts');
        await requireKnown(connections, id);
        const known = await knownCheckpoints(connections, id);
        const found = await listJobCheckpoints(await connections.store(), id, known);
        if (options.json) return printJson(found);
        await print(formatTable(HEADING, found.map(toRow), outputWidth(), 8));
      }),
    );
  finishCommand(command, ['floe checkpoints default-k3v9x2m4qa', 'floe checkpoints default-k3v9x2m4qa --json']);
  command.addHelpText(
    'after',
    `
States:
  current     the next run thaws it
  kept        the next run falls back to it
  unused      a worker wrote it that had lost the job; it is removed soon
  unreadable  its manifest cannot be read, or is not the one that was written; the code in brackets is that of \`floe status\`
  missing     Redis knows it as the newest, and the store does not have it
STORED counts the packs that a checkpoint shares with earlier ones too; \`floe du\` counts each once.`,
  );
}

const HEADING = ['CHECKPOINT', 'TAKEN', 'MEMORY', 'FILES', 'SENT', 'STORED', 'BASE', 'ENCRYPTED', 'STATE'];

function toRow(found: ListedCheckpoint): string[] {
  const bytes = (size: number | null) => (size === null ? '-' : formatBytes(size));
  return [
    found.id,
    found.frozenAt === null ? '-' : formatTime(found.frozenAt),
    ...[found.memoryBytes, found.fileBytes, found.sentBytes, found.storedBytes].map(bytes),
    found.base ?? '-',
    found.isEncrypted === null ? '-' : found.isEncrypted ? 'yes' : 'no',
    found.problem === null ? found.state : `${found.state}: ${found.problem}`,
  ];
}
