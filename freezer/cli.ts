#!/usr/bin/env node
/** The `freezer` command: freezes one program into a store and thaws it from there. Needs no queue and no container engine. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { z } from 'zod';
import { runAtEdge } from './cli/edge.ts';
import { EXIT_CODES_HELP } from './cli/exitCodes.ts';
import { addList } from './cli/list.ts';
import { addRequests } from './cli/requests.ts';
import { addStart } from './cli/start.ts';
import { addVerify } from './cli/verify.ts';

function createProgram(): Command {
  const program = new Command('freezer')
    .description('Run a program that can be frozen, moved, and continued where it was.')
    .version(readVersion())
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: () => undefined }) // errors are reported at the edge
    .addHelpText('after', `\nEvery command has examples: freezer COMMAND --help\n${EXIT_CODES_HELP}`);
  for (const add of [addStart, addRequests, addList, addVerify]) add(program);
  return program;
}

/** From the package's own description, one folder up in the sources and two in `dist`. */
function readVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    const version = readPackage(new URL(path, import.meta.url));
    if (version) return version;
  }
  return 'unknown';
}

function readPackage(url: URL): string | null {
  try {
    return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(url, 'utf8'))).version;
  } catch {
    return null; // not there: it is in the other place
  }
}

process.exit(await runAtEdge(() => createProgram().parseAsync()));
