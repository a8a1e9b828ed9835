/** What all commands have in common. */
import { once } from 'node:events';
import type { Command } from 'commander';
import { redact, redactJson } from '../../base/redact.ts';
import { escapeUnsafe, plainLines } from '../../base/terminal.ts';
import { loadConfig } from '../../jobs/config.ts';
import { FloeError } from '../../jobs/errors.ts';
import { StoreError } from '../../store/store.ts';
import { Connections } from '../connections.ts';
import { asFloeError } from '../failures.ts';
import { Floe } from '../floe.ts';
import { Interrupted } from './edge.ts';
import { EXIT_CODES_HELP } from './exitCodes.ts';

export interface CommonOptions {
  readonly redisUrl?: string;
  readonly store?: string;
  readonly stateDir?: string;
  readonly json?: boolean;
}

/** Adds the flags that every command takes, its examples and its exit codes. */
export function finishCommand(command: Command, examples: readonly string[], exitCodes = EXIT_CODES_HELP): Command {
  return command
    .option('--redis-url <url>', 'Redis or Valkey (FLOE_REDIS_URL; default: a server of its own)')
    .option('--store <url>', 's3://bucket[/prefix] or file:///folder (FLOE_STORE)')
    .option('--state-dir <folder>', 'what this machine keeps (FLOE_STATE_DIR)')
    .option('--json', 'print JSON; an error is {"error":{"code","message","remedy"}} on stderr')
    .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}\n${exitCodes}`);
}

/** The flags that configure where Redis and the store are. */
export function connectionFlags({ redisUrl, store, stateDir }: CommonOptions) {
  return { redisUrl, store, stateDir };
}

export async function withFloe<T>(options: CommonOptions, work: (floe: Floe) => Promise<T>): Promise<T> {
  await using floe = await Floe.open(connectionFlags(options));
  return await work(floe);
}

/** As `withFloe`, for commands that work on the store itself. Errors of Redis and the store become `FloeError`. */
export async function withConnections<T>(
  options: CommonOptions,
  work: (connections: Connections) => Promise<T>,
): Promise<T> {
  const config = loadConfig({ flags: connectionFlags(options) });
  await using connections = await Connections.open(config);
  try {
    return await work(connections);
  } catch (error) {
    // The checkpoint engine wraps what the store says.
    const cause = error instanceof Error && error.cause instanceof StoreError ? error.cause : error;
    throw asFloeError(error instanceof FloeError ? error : cause, config);
  }
}

/** Lines for people, on stdout. What a terminal would obey is replaced, and so are secrets. */
export function print(text: string): Promise<void> {
  return printExactly(redact(plainLines(text)));
}

export function printJson(value: unknown): Promise<void> {
  return printExactly(escapeUnsafe(redactJson(`${JSON.stringify(value)}\n`)));
}

/** One line for people beside the output: on stderr. */
export function note(line: string): void {
  process.stderr.write(`${redact(plainLines(line))}\n`);
}

/** Writes as it is, to stdout unless told otherwise, and waits while its reader is slow. */
export async function printExactly(
  text: string | Uint8Array,
  stream: NodeJS.WriteStream = process.stdout,
): Promise<void> {
  if (!stream.write(text)) await once(stream, 'drain');
}

/** Columns of the terminal; unlimited where the output goes to a file or another program. */
export function outputWidth(): number {
  return process.stdout.columns ?? Number.POSITIVE_INFINITY;
}

/** Aborts the work on Ctrl-C, and lets it clean up behind itself. A second Ctrl-C ends the command. */
export async function interruptible<T>(message: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => controller.abort(new Interrupted(message));
  process.once('SIGINT', interrupt);
  try {
    return await work(controller.signal);
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

/** As `interruptible`, for work that only looks on: there is nothing to clean up, and so nothing to wait for. */
export function untilInterrupted<T>(message: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return interruptible(message, (signal) => {
    const { promise, reject } = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    return Promise.race([work(signal), promise]);
  });
}
