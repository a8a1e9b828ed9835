/** `floe verify`. */
import type { Command } from 'commander';
import type { Verification } from '../../freezer/checkpoint/verify.ts';
import { FloeError } from '../../jobs/errors.ts';
import {
  type CommonOptions,
  EXIT_CODES_HELP,
  finishCommand,
  formatBytes,
  interruptible,
  plain,
  print,
  printJson,
  withConnections,
} from '../../producers/cli.ts';

/** Its own, so that a script can tell damage from a store that is away. */
const EXIT_DAMAGED = 119;

interface VerifyFlags extends CommonOptions {
  readonly all?: boolean;
}

export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description("Read a job's newest checkpoint again, all of it, and prove it whole.")
    .argument('<id>')
    .argument('[checkpoint]', 'this one instead of the newest')
    .option('--all', 'all that it has')
    .action(verify);
  finishCommand(
    command,
    [
      'floe verify default-k3v9x2m4qa',
      'floe verify default-k3v9x2m4qa 00000002-000005',
      'floe verify default-k3v9x2m4qa --all --json',
    ],
    `${EXIT_CODES_HELP}\n  ${EXIT_DAMAGED}   a checkpoint is damaged`,
  );
}

async function verify(id: string, checkpoint: string | undefined, flags: VerifyFlags): Promise<void> {
  if (flags.all && checkpoint !== undefined) {
    throw new FloeError('invalidOption', `--all: ${checkpoint} is named as well.`, 'Leave out one of the two.');
  }
  await withConnections(flags, async (connections) => {
    const { knownCheckpoints, requireKnown, verifyJob } = await import('../index.ts');
    await requireKnown(connections, id);
    const store = await connections.store();
    const which = checkpoint !== undefined ? { checkpoint } : flags.all ? 'all' : 'current';
    const known = await knownCheckpoints(connections, id);
    const options = { store, jobId: id, which, known, toolboxDirectory: connections.config.toolbox } as const;
    const found = await interruptible('interrupted; nothing has been changed.', (signal) =>
      verifyJob({ ...options, signal, onProgress: showProgress }),
    );
    if (found.some(({ damages }) => damages.length > 0)) process.exitCode = EXIT_DAMAGED;
    await (flags.json ? printJson(found) : print(found.map(describe).join('')));
  });
}

function showProgress(checkpoint: string, doneBytes: number, totalBytes: number): void {
  if (!process.stderr.isTTY) return;
  const line = `${checkpoint}: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
  process.stderr.write(`\r\u001b[K${doneBytes < totalBytes ? line : ''}`);
}

const SHOWN_HITS = 20;

function describe({ id, packs, chunks, storedBytes, damages, hits }: Verification): string {
  if (damages.length === 0) {
    return `${id} is whole: ${chunks} chunks in ${packs} packs, ${formatBytes(storedBytes)}.\n`;
  }
  const more = hits.length > SHOWN_HITS ? [`… and ${hits.length - SHOWN_HITS} more`] : [];
  const lines = [...damages, ...[...hits.slice(0, SHOWN_HITS), ...more].map((hit) => `lost: ${hit}`)];
  return `${id} is damaged:\n${lines.map((line) => `  ${plain(line)}\n`).join('')}`;
}
