/** The logs of the daemons: JSON lines that hold no secret, and that a terminal can show. */
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino';
import { plainError, redactJson } from './redact.ts';
import { escapeUnsafe } from './terminal.ts';

/** Default destination: stdout. Every logger of a daemon is made here, and child loggers inherit all of it. */
export function createLogger(options: Pick<LoggerOptions, 'level' | 'base'>, destination?: DestinationStream): Logger {
  const settings: LoggerOptions = {
    ...options,
    serializers: { err: plainError, error: plainError, cause: plainError },
    hooks: { streamWrite: (line) => escapeUnsafe(redactJson(line)) },
  };
  return destination ? pino(settings, destination) : pino(settings);
}
