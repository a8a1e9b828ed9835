/** The outermost layer of the CLI: errors become one line and an exit code. */
import { CommanderError } from 'commander';
import { credentialsIn, describeError, redact, redactJson } from '../../base/redact.ts';
import { escapeUnsafe, plain } from '../../base/terminal.ts';
import { exitOnUncaught } from '../../base/uncaught.ts';
import { FloeError } from '../../jobs/errors.ts';
import { StoreError } from '../../store/store.ts';
import { asFloeError } from '../failures.ts';
import { EXIT, exitCodeOf } from './exitCodes.ts';

/** The user pressed Ctrl-C; the message says what that leaves. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
  readonly exitCode: number;
}

/** Runs the CLI. Resolves to the exit code; never rejects. */
export async function runAtEdge(argv: readonly string[], run: () => Promise<unknown>): Promise<number> {
  leaveQuietlyOnClosedPipe();
  exitOnUncaught('floe', EXIT.internal);
  warnOfVisiblePasswords(argv);
  try {
    await run();
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0; // help or version was asked for
    const failure = describeFailure(error);
    report(failure, wantsJson(argv));
    if (process.env.FLOE_LOG_LEVEL === 'debug') process.stderr.write(`${describeError(error)}\n`);
    return failure.exitCode;
  }
}

/** A reader that had enough, as `head` does, is no error. */
function leaveQuietlyOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** Every user of the machine can read the arguments of its processes. */
function warnOfVisiblePasswords(argv: readonly string[]): void {
  const own = beforeSeparator(argv);
  const flags = ['--redis-url', '--store'].filter((flag) =>
    own.some((word, at) => {
      const isValue = own[at - 1] === flag || word.startsWith(`${flag}=`);
      return isValue && credentialsIn(word).length > 0;
    }),
  );
  for (const flag of flags) {
    const variable = flag === '--store' ? 'FLOE_STORE' : 'FLOE_REDIS_URL';
    process.stderr.write(
      `floe: everybody on this machine can read the password in ${flag}. Use ${variable} or ${variable}_FILE.\n`,
    );
  }
}

function beforeSeparator(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return argv.slice(0, end === -1 ? undefined : end);
}

function wantsJson(argv: readonly string[]): boolean {
  return beforeSeparator(argv).includes('--json');
}

export function describeFailure(thrown: unknown): Failure {
  // A daemon lets the store's errors through as they are.
  const error = thrown instanceof StoreError ? asFloeError(thrown, { redisUrl: null }) : thrown;
  if (error instanceof FloeError) {
    return { code: error.code, message: error.message, remedy: error.remedy, exitCode: exitCodeOf(error.code) };
  }
  if (error instanceof CommanderError) return usageFailure(error);
  if (error instanceof Interrupted) {
    return { code: 'interrupted', message: error.message, remedy: '', exitCode: EXIT.interrupted };
  }
  if (!(error instanceof Error)) return internal(String(error));
  if ('remedy' in error && 'code' in error) {
    const { code, remedy } = error;
    return { code: String(code), message: error.message, remedy: String(remedy), exitCode: EXIT.internal };
  }
  if ('syscall' in error && 'code' in error) {
    return { code: String(error.code), message: `${error.message}.`, remedy: '', exitCode: EXIT.internal };
  }
  return internal(error.message);
}

function usageFailure(error: CommanderError): Failure {
  const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  // Asked for nothing: commander has printed the help already.
  const said = error.code === 'commander.help' ? 'There is no command.' : `${sentence(message)}`;
  return { code: 'invalidOption', message: said, remedy: 'See `floe --help`.', exitCode: EXIT.usage };
}

function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?)]$/.test(capital) ? capital : `${capital}.`;
}

function internal(message: string): Failure {
  return {
    code: 'internal',
    message: sentence(message),
    remedy: 'This is a defect; FLOE_LOG_LEVEL=debug shows where.',
    exitCode: EXIT.internal,
  };
}

function report({ code, message, remedy }: Failure, json: boolean): void {
  const line = json
    ? escapeUnsafe(redactJson(JSON.stringify({ error: { code, message, remedy } })))
    : `floe: ${plain(redact(`${message} ${remedy}`.trim()))}`;
  process.stderr.write(`${line}\n`);
}
