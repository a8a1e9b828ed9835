/** Floe's side, through what its worker uses: the `process` runtime of the freezer's public API. */
import { join } from 'node:path';
import { keepSpareEngine, openProcessRuntime, type Run, type Runtime, type ThawOptions } from '../freezer/index.ts';
import { EngineWatch } from '../freezer/testing/engineWatch.ts';
import { PAGE_BYTES } from './changes.ts';
import { Filler, fillerCommand, putFiller } from './filler.ts';
import type { Ground } from './ground.ts';
import { changedPages, changeNames, type Load, type Measures, type Part } from './measures.ts';

/** Longer than any measurement: nobody renews it. */
const LEASE_MS = 24 * 3600_000;

export interface FloeWay {
  readonly ground: Ground;
  readonly toolboxDirectory: string;
  readonly load: Load;
  readonly pair: number;
  readonly parts: readonly Part[];
  readonly signal: AbortSignal;
}

export async function measureFloe(way: FloeWay): Promise<Measures> {
  const { ground, toolboxDirectory } = way;
  const runtime = openProcessRuntime({ stateDirectory: join(ground.disk, 'floe'), toolboxDirectory });
  const { measures, checkpointId } = await measureFreezes(way, runtime);
  if (!way.parts.includes('thaw')) return measures;
  const eager = await measureThaw(way, runtime, { checkpointId, epoch: 2, mode: 'eager' });
  const lazy = await measureThaw(way, runtime, { checkpointId, epoch: 3, mode: 'lazy' });
  return { ...measures, ...eager, ...lazy };
}

async function measureFreezes(
  { ground, load, pair, parts, signal }: FloeWay,
  runtime: Runtime,
): Promise<{ measures: Measures; checkpointId: string }> {
  await using run = await runtime.start({
    ...runOptions(1, signal),
    program: { command: fillerCommand(load.sizeBytes, load.content), env: {} },
    prepareWorkspace: putFiller,
  });
  await using filler = await Filler.find(run.workspace, untilEnded(run, signal));
  let { measures, checkpointId } = await measureFreeze('full', run, filler, ground, signal);
  if (!parts.includes('increment')) return { measures, checkpointId };
  for (const name of changeNames) {
    const pages = changedPages(name, load, pair);
    await filler.change(pages);
    const next = await measureFreeze(name, run, filler, ground, signal);
    measures = { ...measures, ...next.measures, [`floe.${name}.changedBytes`]: pages.length * PAGE_BYTES };
    checkpointId = next.checkpointId;
  }
  return { measures, checkpointId };
}

async function measureFreeze(
  name: string,
  run: Run,
  filler: Filler,
  { place, settle }: Ground,
  signal: AbortSignal,
): Promise<{ measures: Measures; checkpointId: string }> {
  await settle();
  await keepSpareEngine({ storeUrl: place.storeUrl }); // a worker has had it ready for long
  using watch = new EngineWatch();
  const [startedAt, started] = [Date.now(), performance.now()];
  const { checkpoint, frozenMs } = await run.freeze({ place, epoch: 1, afterwards: 'continue', signal });
  const measures = {
    [`floe.${name}.wallMs`]: performance.now() - started,
    [`floe.${name}.frozenMs`]: frozenMs,
    [`floe.${name}.standstillMs`]: await filler.longestPauseSince(startedAt),
    [`floe.${name}.sentBytes`]: checkpoint.sentBytes,
    [`floe.${name}.engineRssBytes`]: watch.cost.rssBytes,
    [`floe.${name}.loopDelayP99Ms`]: watch.cost.loopDelayP99Ms,
  };
  return { measures, checkpointId: checkpoint.id };
}

interface Thaw {
  readonly checkpointId: string;
  readonly epoch: number;
  readonly mode: 'eager' | 'lazy';
}

async function measureThaw({ ground, signal }: FloeWay, runtime: Runtime, thaw: Thaw): Promise<Measures> {
  // Before anything else: nobody's engine keeps this process from ending while it is waited for.
  using watch = new EngineWatch();
  await ground.settle();
  await keepSpareEngine({ storeUrl: ground.place.storeUrl }); // as above
  const { checkpointId, epoch, mode } = thaw;
  // In no table: they tell where the time went when a thaw takes another time than others.
  const stages: Measures = {};
  const options: ThawOptions & Thaw = {
    ...runOptions(epoch, signal),
    ...{ checkpointId, epoch, mode, place: ground.place },
    program: { command: ['unused'], env: {} },
    onProgress: ({ step }) => {
      if (step === 'restoring') stages[`floe.${mode}.fetchedMs`] = Date.now() - startedAt;
      if (step === 'filling') stages[`floe.${mode}.filledMs`] = Date.now() - startedAt; // the last one counts
    },
  };
  const startedAt = Date.now();
  await using run = await runtime.thaw(options);
  stages[`floe.${mode}.thawedMs`] = Date.now() - startedAt;
  await using filler = await Filler.find(run.workspace, untilEnded(run, signal));
  const firstRanAt = await filler.firstRanAfter(startedAt);
  const { endedAt } = await filler.sweep();
  const measures = {
    [`floe.${mode}.firstInstructionMs`]: firstRanAt - startedAt,
    [`floe.${mode}.sweptMs`]: endedAt - startedAt,
    [`floe.${mode}.engineRssBytes`]: watch.cost.rssBytes,
    [`floe.${mode}.loopDelayP99Ms`]: watch.cost.loopDelayP99Ms,
  };
  await filler.verify();
  return { ...measures, ...stages };
}

function runOptions(epoch: number, signal: AbortSignal) {
  const attachLease = (renewLease: (validForMs: number) => void) => renewLease(LEASE_MS);
  return { jobId: 'bench', epoch, attachLease, signal };
}

function untilEnded(run: Run, signal: AbortSignal): AbortSignal {
  const ended = new AbortController();
  void run.ended.then((end) => ended.abort(new Error(`the program has ended: ${JSON.stringify(end)}`)));
  return AbortSignal.any([signal, ended.signal]);
}
