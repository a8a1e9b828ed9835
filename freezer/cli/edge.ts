/** The outermost layer of `freezer`: errors become one line and an exit code. */
import { CommanderError } from 'commander';
import { describeError } from '../../base/redact.ts';
import { exitOnUncaught } from '../../base/uncaught.ts';
import { StoreError } from '../../store/store.ts';
import { FreezerError } from '../errors.ts';
import { CommandError, type CommandErrorCode } from './commandError.ts';
import { EXIT, exitCodeOf } from './exitCodes.ts';
import { say, settled, writeOut } from './output.ts';

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
  readonly exitCode: number;
}

const BY_CODE: Record<CommandErrorCode, number> = {
  usage: EXIT.usage,
  notRunning: EXIT.notFound,
  conflict: EXIT.conflict,
  interrupted: EXIT.interrupted,
  notCopied: EXIT.machine,
};

/** Runs the command line. Resolves to the exit code; never rejects. */
export async function runAtEdge(run: () => Promise<unknown>): Promise<number> {
  exitOnUncaught('freezer', EXIT.internal);
  try {
    await run();
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0; // help or version was asked for
    const { message, remedy, exitCode } = describeFailure(error);
    say(`${message} ${remedy}`.trim());
    if (process.env.FREEZER_LOG_LEVEL === 'debug') void writeOut('stderr', Buffer.from(`${describeError(error)}\n`));
    return exitCode;
  } finally {
    await settled();
  }
}

export function describeFailure(error: unknown): Failure {
  if (error instanceof FreezerError) return { ...fieldsOf(error), exitCode: exitCodeOf(error.code) };
  if (error instanceof StoreError) {
    return { ...fieldsOf(error), exitCode: error.code === 'invalid' ? EXIT.usage : EXIT.store };
  }
  if (error instanceof CommandError) return { ...fieldsOf(error), exitCode: BY_CODE[error.code] };
  if (error instanceof CommanderError) return usageFailure(error);
  const message = error instanceof Error ? error.message : String(error);
  const remedy = 'FREEZER_LOG_LEVEL=debug shows where.';
  return { code: 'internal', message: sentence(message), remedy, exitCode: EXIT.internal };
}

function fieldsOf({ code, message, remedy }: FreezerError | StoreError | CommandError) {
  return { code, message, remedy };
}

function usageFailure(error: CommanderError): Failure {
  const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  // Asked for nothing: commander has printed the help already.
  const said = error.code === 'commander.help' ? 'There is no command.' : sentence(message);
  return { code: 'usage', message: said, remedy: 'See `freezer --help`.', exitCode: EXIT.usage };
}

function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?)]$/.test(capital) ? capital : `${capital}.`;
}
