/** `freezer verify`: whether a start could thaw what the store has, proved by reading all of it again. */
import type { Command } from 'commander';
import { plain } from '../../base/terminal.ts';
import { openStore } from '../../store/index.ts';
import { Codec } from '../checkpoint/codec.ts';
import { type Verification, verifyCheckpoint } from '../checkpoint/verify.ts';
import { KeyRing } from '../encryption/keyRing.ts';
import { FreezerError } from '../errors.ts';
import { candidates, PREFIX } from './checkpoints.ts';
import { newestClaim } from './claims.ts';
import { EXIT } from './exitCodes.ts';
import { formatBytes } from './format.ts';
import { printJson, printLines } from './output.ts';
import { type CommonFlags, finishCommand, readSettings } from './settings.ts';

interface VerifyFlags extends CommonFlags {
  readonly all?: boolean;
  readonly json?: boolean;
}

export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('Read the checkpoint again that is thawed first, all of it, and prove it whole.')
    .option('--all', 'all that would be thawed')
    .option('--json', 'print JSON')
    .action(verify);
  finishCommand(command, { store: true, name: true }, [
    'freezer verify',
    'freezer verify --all --store s3://bucket/prefix',
  ]);
}

async function verify(flags: VerifyFlags): Promise<void> {
  const { storeUrl, encryptionKeys, toolboxDirectory, name } = readSettings(flags);
  await using store = await openStore(storeUrl);
  const ids = await candidates(store, await newestClaim(store));
  if (ids.length === 0)
    throw new FreezerError('notFound', `There is no checkpoint in ${store.url}.`, 'Take one: freezer checkpoint.');
  const codec = new Codec(toolboxDirectory);
  const parts = { store, prefix: PREFIX, name, keyRing: KeyRing.of(encryptionKeys), codec };
  const found: Verification[] = [];
  for (const id of flags.all ? ids : ids.slice(0, 1)) found.push(await verifyCheckpoint({ ...parts, id }));
  if (found.some(({ damages }) => damages.length > 0)) process.exitCode = EXIT.store;
  await (flags.json ? printJson(found) : printLines(found.map(describe).join('')));
}

function describe({ id, packs, chunks, storedBytes, damages, hits }: Verification): string {
  if (damages.length === 0) return `${id} is whole: ${chunks} chunks in ${packs} packs, ${formatBytes(storedBytes)}.\n`;
  const lines = [...damages, ...hits.map((hit) => `lost: ${hit}`)];
  return `${id} is damaged:\n${lines.map((line) => `  ${plain(line)}\n`).join('')}`;
}
