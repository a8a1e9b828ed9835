/**
 * `npm run hostile`: hostile jobs beside honest ones, in both runtimes, with canaries planted on the machine. The README
 * beside this file says what a run that holds has shown.
 *
 * Exit status: 0 when everything held; 1 when anything was reached, changed or lost, or the run failed; 2 for wrong usage; 130
 * when interrupted. Everything that it made is removed, whatever happens.
 */
import { bucketAttacks } from './cases/bucket.ts';
import { attacks } from './cases/index.ts';
import { type Options, readOptions, USAGE } from './options.ts';
import { formatSummary, held, type Tried } from './report.ts';
import { runHostile } from './run.ts';

function chosen({ only, withBombs }: Options) {
  return attacks.filter((attack) => only.test(attack.name) && (withBombs || attack.isBomb !== true));
}

function list(options: Options): void {
  const onBucket = bucketAttacks
    .filter(({ name }) => options.only.test(name))
    .map((each) => ({ ...each, runtimes: undefined }));
  for (const { name, wants, runtimes = options.runtimes } of [...chosen(options), ...onBucket]) {
    process.stdout.write(`${name.padEnd(44)} ${runtimes.join(', ').padEnd(16)} ${wants}\n`);
  }
}

/** The summary alone goes to stdout. */
function say({ name, runtime, ending, breach }: Tried): void {
  process.stderr.write(`hostile: ${runtime} ${name}: ${breach === null ? ending : `BREACH ${breach.slice(0, 300)}`}\n`);
}

async function main(): Promise<number> {
  let options: Options | null;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`hostile: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  if (options === null || options.list) {
    if (options === null) process.stdout.write(USAGE);
    else list(options);
    return 0;
  }
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interrupted.abort(new Error('interrupted')));
  }
  // A defect of the harness must not leave anything behind either.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      process.stderr.write(`hostile: ${error instanceof Error ? error.stack : error}\n`);
      interrupted.abort(error);
    });
  }
  try {
    const { runtimes, only } = options;
    const summary = await runHostile({
      runtimes,
      attacks: chosen(options),
      bucketAttacks: bucketAttacks.filter(({ name }) => only.test(name)),
      signal: interrupted.signal,
      onTried: say,
    });
    process.stdout.write(formatSummary(summary));
    return held(summary) ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    process.stderr.write(`hostile: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return 1;
  }
}

// What an interrupted run has left waiting must not keep it.
process.exit(await main());
