/** `freezer list`: the checkpoints of a store that a start would thaw. */
import type { Command } from 'commander';
import { plain } from '../../base/terminal.ts';
import { openStore, type Store } from '../../store/index.ts';
import { readManifest, summarize } from '../checkpoint/catalogue.ts';
import { candidates, PREFIX } from './checkpoints.ts';
import { newestClaim } from './claims.ts';
import { formatTime, sizeOf } from './format.ts';
import { printJson, printLines } from './output.ts';
import { type CommonFlags, finishCommand, readSettings } from './settings.ts';

interface ListFlags extends CommonFlags {
  readonly json?: boolean;
}

export function addList(program: Command): void {
  const command = program
    .command('list')
    .description('List the checkpoints in the store, the one that is thawed first first.')
    .option('--json', 'print JSON')
    .action(list);
  finishCommand(command, { store: true }, ['freezer list', 'freezer list --store s3://bucket/prefix --json']);
}

async function list(flags: ListFlags): Promise<void> {
  await using store = await openStore(readSettings(flags).storeUrl);
  const ids = await candidates(store, await newestClaim(store));
  const found = await Promise.all(ids.map(async (id) => ({ id, ...(await describe(store, id)) })));
  if (flags.json) return printJson(found);
  await printLines(found.map(({ id, text }) => `${id}  ${plain(text)}\n`).join(''));
}

async function describe(store: Store, id: string) {
  const answer = await readManifest(store, PREFIX, id);
  switch (answer.kind) {
    case 'found': {
      const checkpoint = summarize(answer.manifest);
      return { text: `${formatTime(checkpoint.frozenAt)}  ${sizeOf(checkpoint)}`, checkpoint };
    }
    case 'corrupt':
      return { text: `corrupt: ${answer.reason}` };
    case 'wrongVersion':
      return { text: `of another version: ${answer.version}` };
    case 'notFound':
      return { text: 'gone' };
  }
}
