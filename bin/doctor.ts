/** `floe doctor`: whether jobs can run here, as a table with what to do. */
import type { Command } from 'commander';
import type { Finding } from '../freezer/index.ts';
import { loadConfig } from '../jobs/config.ts';
import {
  type CommonOptions,
  connectionFlags,
  EXIT,
  finishCommand,
  formatTable,
  outputWidth,
  plain,
  print,
  printJson,
} from '../producers/cli.ts';

const EXIT_OF = { machine: EXIT.machine, store: EXIT.store, redis: EXIT.redis } as const;

const EXIT_CODES_HELP = `
Exit codes:
  0     nothing fails; there may be warnings
  124   Redis cannot be used as it is
  125   the store cannot be used as it is
  126   this machine cannot run jobs, whatever else there is`;

interface DoctorFlags extends CommonOptions {
  readonly toolbox?: string;
}

export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('Look whether this machine can run jobs, with its store and Redis, and say what to do.')
    .option('--toolbox <folder>', 'folder with CRIU and the supervisor (FLOE_TOOLBOX)')
    .action(async ({ toolbox, ...common }: DoctorFlags) => {
      const config = loadConfig({ flags: { ...connectionFlags(common), toolbox } });
      const { examine } = await import('../workers/index.ts');
      const findings = await examine(config);
      await (common.json ? printJson(findings) : print(formatFindings(findings, outputWidth())));
      process.exitCode = exitCodeOf(findings);
    });
  finishCommand(
    command,
    ['floe doctor', 'floe doctor --json | jq ".[] | select(.status != \\"ok\\")"'],
    EXIT_CODES_HELP,
  );
}

function exitCodeOf(findings: readonly Finding[]): number {
  const failed = findings.filter(({ status }) => status === 'fail').map(({ part }) => part);
  const first = (['machine', 'store', 'redis'] as const).find((part) => failed.includes(part));
  return first === undefined ? 0 : EXIT_OF[first];
}

/** The table, and below it what to do, in full: it may be longer than a line. */
function formatFindings(findings: readonly Finding[], width: number): string {
  const rows = findings.map(({ status, check, found }) => [status, check, found]);
  const todo = findings.flatMap(({ status, check, found, remedy }) =>
    remedy === null ? [] : [`${status}  ${check}: ${plain(sentence(found))}\n      ${plain(remedy)}\n`],
  );
  const table = formatTable(['', 'CHECK', 'FOUND'], rows, width, 2);
  return todo.length === 0 ? `${table}\nAll is as it should be.\n` : `${table}\nWhat to do:\n${todo.join('')}`;
}

function sentence(text: string): string {
  return /[.?)]$/.test(text) ? text : `${text}.`;
}
