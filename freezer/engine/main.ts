/**
 * The engine process: moves a checkpoint's bytes between a container and the store. It is a process of its own, so that
 * hashing and compressing never hold up the worker's event loop, and so that its end, however it comes, ends just one
 * freeze or thaw.
 */
import { openStore } from '../../store/index.ts';
import { windowsOf } from '../checkpoint/baseMemory.ts';
import { type OpenedCheckpoint, openCheckpoint, sourceOf } from '../checkpoint/openCheckpoint.ts';
import { channelTransport, Peer } from '../rpc.ts';
import type { StepProgress } from '../runtime.ts';
import { Fetch } from './fetch.ts';
import type { EngineEvents, EngineMethods } from './protocol.ts';
import { Save } from './save.ts';

let expectedBase: OpenedCheckpoint | undefined;
let save: Save | undefined;
let fetch: Fetch | undefined;

function saving(): Save {
  if (!save) throw new Error('prepareFreeze comes first');
  return save;
}

function fetching(): Fetch {
  if (!fetch) throw new Error('prepareThaw comes first');
  return fetch;
}

/** At most one report in this time. */
const REPORT_EVERY_MS = 250;
let reportedAt = 0;

function report(progress: StepProgress): void {
  const now = performance.now();
  if (now - reportedAt < REPORT_EVERY_MS) return;
  reportedAt = now;
  worker.notify('progress', progress);
}

const methods: EngineMethods = {
  warmUp: async ({ storeUrl, base }) => {
    if (storeUrl === null) return;
    await using store = await openStore(storeUrl);
    // For what the first request of a process loads, which takes a tenth of a second; there is nothing of this name.
    await store.get('warm-up').catch(() => undefined);
    if (!base) return;
    expectedBase = await openCheckpoint(sourceOf(store, base.place), base.id);
    windowsOf(expectedBase.index);
  },
  prepareFreeze: async (order) => {
    save = await Save.open(order, report, expectedBase);
  },
  followImages: async (order) => saving().followImages(order),
  receivePages: ({ controlDirectory, criuVersion }) => saving().receivePages(controlDirectory, criuVersion),
  saveFiles: (folders) => saving().readFiles(folders),
  commit: (facts) => saving().commit(facts),
  prepareThaw: async (order) => {
    fetch = await Fetch.open(order, report);
    return fetch.found;
  },
  fetch: () => fetching().fetch(),
  fill: (order) => fetching().fill(order),
};

const worker = new Peer<EngineEvents, EngineMethods>(channelTransport(process), methods, 'worker', 'lost');
void worker.closed.then(() => process.exit(0));
