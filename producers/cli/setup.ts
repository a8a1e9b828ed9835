/** `floe config`, `floe new-key` and `floe stop-redis`: what this machine uses. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { hideCredentials } from '../../base/redact.ts';
import { type Config, loadConfig, OPTION_LIST } from '../../jobs/config.ts';
import { stopEmbeddedRedis } from '../../jobs/embeddedRedis.ts';
import { FloeError } from '../../jobs/errors.ts';
import { valueAt } from '../../jobs/explain.ts';
import { Floe } from '../floe.ts';
import { formatTable } from './format.ts';
import { type CommonOptions, connectionFlags, finishCommand, outputWidth, print, printJson } from './shared.ts';

export function addConfig(program: Command): void {
  const command = program
    .command('config')
    .description('Show every option: its value here, its environment variable, its default and meaning.')
    .action(async (options: CommonOptions) => {
      const config = loadConfig({ flags: connectionFlags(options) });
      const rows = OPTION_LIST.map(({ isSecret, ...option }) => ({
        ...option,
        value: shownValue(config, option.path, isSecret),
      }));
      if (options.json) return printJson(rows);
      const cells = rows.map((row) => [row.path, row.value, row.env, row.byDefault, row.description]);
      await print(formatTable(['OPTION', 'VALUE', 'ENVIRONMENT', 'DEFAULT', 'MEANING'], cells, outputWidth(), 4));
    });
  finishCommand(command, ['floe config', 'FLOE_SLOTS=2 floe config --json']);
}

/** Passwords and keys are not shown. */
function shownValue(config: Config, path: string, isSecret: boolean): string {
  const value = valueAt(config, path.split('.'));
  const isEmpty = Array.isArray(value) && value.length === 0;
  if (value === null || value === undefined || isEmpty) return '-';
  if (isSecret) return '(set)';
  return hideCredentials(String(value));
}

export function addNewKey(program: Command): void {
  const command = program
    .command('new-key')
    .description('Print a fresh key for FLOE_ENCRYPTION_KEY. Keep it: without it no checkpoint can be thawed.')
    .action(async (options: CommonOptions) => {
      const key = randomBytes(32).toString('base64');
      if (options.json) return printJson({ key });
      await print(`${key}\n`);
    });
  finishCommand(command, ['floe new-key > /etc/floe/encryption.key']);
}

export function addStopRedis(program: Command): void {
  const command = program
    .command('stop-redis')
    .description("End the Redis that Floe started for itself. What it holds is kept for the next command's start.")
    .action(async (options: CommonOptions) => {
      const { redisUrl, stateDir } = loadConfig({ flags: connectionFlags(options) });
      if (redisUrl !== null) {
        const message = `Redis at ${hideCredentials(redisUrl)} was not started by Floe.`;
        throw new FloeError('conflict', message, 'End it where it was started.');
      }
      await refuseWhileUsed(options);
      const stopped = await stopEmbeddedRedis(stateDir);
      if (options.json) return printJson({ stopped });
      await print(stopped ? 'Stopped.\n' : 'It did not run.\n');
    });
  finishCommand(command, ['floe stop-redis']);
}

async function refuseWhileUsed(options: CommonOptions): Promise<void> {
  await using floe = await Floe.open(connectionFlags(options));
  const names = (await floe.workers()).map((worker) => worker.name);
  if (names.length === 0) return;
  throw new FloeError('conflict', `Workers still use it: ${names.join(', ')}.`, 'Drain them first with `floe drain`.');
}
