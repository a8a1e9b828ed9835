/**
 * `npm run bench`: how fast Floe freezes and thaws, beside the simple ways to do the same with CRIU, on this machine.
 *
 * In each pair Floe comes first, then the simple ways, each on new ground of which nothing is left, also when it fails or is
 * interrupted. Results are written after each case, so that an interrupted run leaves those that it had finished.
 * Exit status: 0 when all was measured, whatever the figures; 1 when something failed; 2 for wrong usage; 130 when interrupted.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openProcessRuntime } from '../freezer/index.ts';
import { defaultToolbox } from '../test/support/toolbox.ts';
import { type FloeWay, measureFloe } from './floeWay.ts';
import { onGround, type StoreKind, scratch, shrinkServer, sweepGround } from './ground.ts';
import { describeMachine, requirePrograms, requireRoom } from './machine.ts';
import type { Load, Measures } from './measures.ts';
import { type Options, readOptions, USAGE } from './options.ts';
import { markdown, writeReport } from './report.ts';
import { type Case, type Machine, type Results, readResults, withCase, writeResults } from './results.ts';
import { measureSimpleWays } from './simpleWays.ts';
import { SteadyMemory } from './steadyMemory.ts';

const GIB = 2 ** 30;
/** Steadying memory takes longer than all that is done to a program that is smaller. */
const STEADY_FROM_BYTES = GIB / 4;

async function bench(options: Options, signal: AbortSignal): Promise<Results> {
  const toolboxDirectory = defaultToolbox();
  await sweepGround();
  await requirePrograms(options.stores.includes('s3'));
  const machine = await describeMachine(await checkedCriuVersion(toolboxDirectory));
  await using stack = new AsyncDisposableStack();
  const memory = stack.use(await SteadyMemory.open(await scratch(tmpdir(), stack)));
  let measured: Case[] = [];
  for (const sizeBytes of options.sizesBytes.toSorted((a, b) => a - b)) {
    await requireRoom(sizeBytes);
    const steady = sizeBytes >= STEADY_FROM_BYTES;
    for (const store of options.stores) {
      for (const content of options.contents) {
        const setting = { ...options, toolboxDirectory, store, memory: steady ? memory : null, signal };
        const finished = await measureCase(setting, { sizeBytes, content });
        measured = withCase(measured, finished);
        if (options.out !== null) await keep(options.out, machine, finished);
      }
    }
  }
  if (options.stores.includes('s3')) await shrinkServer();
  return { machine, cases: measured };
}

/** Throws `FreezerError` `cannotRun` where this machine cannot freeze. */
async function checkedCriuVersion(toolboxDirectory: string): Promise<string> {
  const stateDirectory = join(tmpdir(), 'floe-bench-check');
  return (await openProcessRuntime({ stateDirectory, toolboxDirectory }).check()).criuVersion;
}

type Setting = Options &
  Pick<FloeWay, 'toolboxDirectory' | 'signal'> & {
    readonly store: StoreKind;
    readonly memory: SteadyMemory | null;
  };

async function measureCase(setting: Setting, load: Load): Promise<Case> {
  const samples: Measures[] = [];
  for (let pair = 1; pair <= setting.pairs; pair++) {
    const started = performance.now();
    samples.push(await measurePair(setting, load, pair));
    const what = `${setting.store}, ${load.content}, ${load.sizeBytes / GIB} GiB`;
    say(`${what}: pair ${pair} of ${setting.pairs} in ${((performance.now() - started) / 1000).toFixed(0)} s`);
  }
  return { store: setting.store, ...load, measuredAt: new Date().toISOString(), samples };
}

async function measurePair(
  { store, memory, parts, toolboxDirectory, signal }: Setting,
  load: Load,
  pair: number,
): Promise<Measures> {
  const way = { toolboxDirectory, load, pair, parts, signal };
  const countWindows = pair === 1;
  const floe = await onGround(store, memory, signal, (ground) => measureFloe({ ...way, ground }));
  const simple = await onGround(store, memory, signal, (ground) => measureSimpleWays({ ...way, ground, countWindows }));
  return { ...floe, ...simple };
}

async function keep(path: string, machine: Machine, finished: Case): Promise<void> {
  const before = await readResults(path);
  const results = { machine, cases: withCase(before?.cases ?? [], finished) };
  await writeResults(path, results);
  await writeReport(path.replace(/(\.json)?$/, '.md'), results);
}

/** The results alone go to stdout. */
function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}

async function main(): Promise<number> {
  let options: Options | null;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  if (options === null) {
    process.stdout.write(USAGE);
    return 0;
  }
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interrupted.abort(new Error('interrupted')));
  }
  try {
    process.stdout.write(markdown(await bench(options, interrupted.signal)));
    return 0;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return 1;
  }
}

process.exitCode = await main();
