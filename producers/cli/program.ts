/** The commands of a producer. `bin/floe.ts` adds the daemons. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { z } from 'zod';
import { EXIT_CODES_HELP } from './exitCodes.ts';
import { addLs, addWorkers } from './lists.ts';
import { addCancel, addCheckpoint, addDrain, addFetch } from './requests.ts';
import { addConfig, addNewKey, addStopRedis } from './setup.ts';
import { addStatus } from './status.ts';
import { addSubmit } from './submit.ts';
import { addLogs, addWait } from './wait.ts';

export function createProgram(): Command {
  const program = new Command('floe')
    .description('Long batch jobs on machines that can be taken away.')
    .version(readVersion())
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: () => undefined }) // errors are reported at the edge
    .addHelpText('after', `\nEvery command has examples: floe COMMAND --help\n${EXIT_CODES_HELP}`);
  for (const add of [addSubmit, addLs, addStatus, addLogs, addWait, addCancel, addCheckpoint, addFetch]) add(program);
  for (const add of [addWorkers, addDrain, addConfig, addNewKey, addStopRedis]) add(program);
  return program;
}

/** From the package's own description, two folders up in the sources and three in `dist`. */
function readVersion(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    const found = readPackage(new URL(path, import.meta.url));
    if (found) return found;
  }
  return 'unknown';
}

function readPackage(url: URL): string | null {
  try {
    return z.object({ name: z.literal('floe'), version: z.string() }).parse(JSON.parse(readFileSync(url, 'utf8')))
      .version;
  } catch {
    return null; // not there: it is in the other place
  }
}
