/** `floe wait` and `floe logs`: commands that follow a job. */
import { StringDecoder } from 'node:string_decoder';
import type { Command } from 'commander';
import { plain, TerminalFilter } from '../../base/terminal.ts';
import type { LogEntry, LogStream } from '../../jobs/log.ts';
import { exitStatusOf, type JobResult } from '../../jobs/result.ts';
import type { Floe } from '../floe.ts';
import { JOB_EXIT_CODES_HELP } from './exitCodes.ts';
import { formatBytes } from './format.ts';
import {
  type CommonOptions,
  finishCommand,
  note,
  printExactly,
  printJson,
  untilInterrupted,
  withFloe,
} from './shared.ts';

export function addWait(program: Command): void {
  const command = program
    .command('wait')
    .description("Wait for a job's end, and exit with its exit code.")
    .argument('<id>')
    .action((id: string, options: CommonOptions) =>
      withFloe(options, (floe) => reportEnd(floe, id, options.json ?? false)),
    );
  finishCommand(command, ['floe wait default-k3v9x2m4qa && echo fine'], JOB_EXIT_CODES_HELP);
}

export function addLogs(program: Command): void {
  const command = program
    .command('logs')
    .description('Print what a job wrote: its stdout on stdout, its stderr on stderr.')
    .argument('<id>')
    .option('-f, --follow', 'go on until the job has ended')
    .option('--raw', 'every byte as it is, also on a terminal, which would obey it; elsewhere it always is')
    .action((id: string, options: LogsFlags) =>
      withFloe(options, (floe) => untilInterrupted(runsOn(id), (signal) => printLog(floe, id, options, signal))),
    );
  finishCommand(command, ['floe logs default-k3v9x2m4qa', 'floe logs -f default-k3v9x2m4qa | grep -i warning']);
}

interface LogsFlags extends CommonOptions {
  readonly follow?: boolean;
  readonly raw?: boolean;
}

function runsOn(id: string): string {
  return `interrupted; ${id} is not touched by that, \`floe cancel ${id}\` ends it.`;
}

/** Waits for the job's end, says how it ended, and makes its exit status the command's. */
export async function reportEnd(floe: Floe, id: string, json: boolean): Promise<void> {
  const result = await untilInterrupted(runsOn(id), (signal) => floe.waitUntilFinished(id, { signal }));
  process.exitCode = exitStatusOf(result);
  if (json) await printJson(result);
  else note(`${id} ${plain(describeEnd(result))}`);
}

/** `failed: exit code 3`, `failed: It ran longer than its timeoutMs, 1000. (timedOut)` */
export function describeEnd(result: JobResult): string {
  const { outcome, end, reason } = result;
  if (reason) return `${outcome}: ${reason.message} (${reason.code})`;
  if (end?.signal != null) return `${outcome}: killed by signal ${end.signal}`;
  return end?.exitCode ? `${outcome}: exit code ${end.exitCode}` : outcome;
}

async function printLog(floe: Floe, id: string, options: LogsFlags, signal: AbortSignal): Promise<void> {
  // A character may be cut in two by the pieces in which the log comes.
  const decoders = { stdout: new StringDecoder(), stderr: new StringDecoder() };
  const outlets = { stdout: new Outlet('stdout', options), stderr: new Outlet('stderr', options) };
  for await (const entry of floe.logs(id, { follow: options.follow ?? false, signal })) {
    if (options.json) await printJson(asJson(entry, decoders[entry.stream]));
    else if (entry.kind === 'text') await outlets[entry.stream].write(entry.bytes);
    else note(`floe: ${describeGap(id, entry)}`);
  }
  for (const outlet of Object.values(outlets)) await outlet.end();
}

/** Where one stream of a job's is shown. A terminal gets text and colours only, everything else each byte. */
class Outlet {
  readonly #stream: NodeJS.WriteStream;
  readonly #filter: TerminalFilter | null;

  constructor(name: LogStream, { raw }: LogsFlags) {
    this.#stream = process[name];
    this.#filter = this.#stream.isTTY && !raw ? new TerminalFilter() : null;
  }

  write(bytes: Uint8Array): Promise<void> {
    return printExactly(this.#filter?.push(bytes) ?? bytes, this.#stream);
  }

  async end(): Promise<void> {
    if (this.#filter) await printExactly(this.#filter.end(), this.#stream);
  }
}

function describeGap(id: string, entry: Exclude<LogEntry, { kind: 'text' }>): string {
  if (entry.kind === 'rewound') {
    return `run ${entry.epoch} began at an earlier point: ${entry.stream} after byte ${entry.offsetBytes} was undone, and comes again.`;
  }
  return `${formatBytes(entry.sizeBytes)} of ${entry.stream} are not kept in Redis; \`floe logs ${id}\` has them when the job has ended.`;
}

function asJson(
  entry: LogEntry,
  decoder: StringDecoder,
): Record<string, unknown> & { kind: string; stream: LogStream } {
  if (entry.kind !== 'text') return { ...entry };
  const { bytes, ...rest } = entry;
  return { ...rest, sizeBytes: bytes.length, text: decoder.write(bytes) };
}
