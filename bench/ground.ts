/** The ground that Floe, or the simple ways, are measured on: a store, the same for both, and scratch folders. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { CheckpointPlace } from '../freezer/index.ts';
import { isOwnerAlive, ownerName } from '../freezer/run/owner.ts';
import { startCeph } from '../store/testing/ceph.ts';
import { openAwsStore, openFolderStore, type SimpleStore } from './simpleStore.ts';
import type { SteadyMemory } from './steadyMemory.ts';

export type StoreKind = 's3' | 'file';

/** A tmpfs on every Linux. */
const TMPFS = '/dev/shm';
/** Its owner's name follows. */
const SCRATCH = 'floe-bench-';

export interface Ground {
  readonly place: CheckpointPlace;
  readonly simple: SimpleStore;
  /** On the disk. */
  readonly disk: string;
  /** In memory. */
  readonly tmpfs: string;
  /** To be awaited before each measurement, so that it does not pay for what went before: in writes to the disk, and in memory. */
  readonly settle: () => Promise<void>;
}

/** Does some work on new ground, of which nothing is left afterwards. `memory` null: it need not be steady. */
export async function onGround<T>(
  kind: StoreKind,
  memory: SteadyMemory | null,
  signal: AbortSignal,
  work: (ground: Ground) => Promise<T>,
): Promise<T> {
  await using stack = new AsyncDisposableStack();
  const disk = await scratch(tmpdir(), stack);
  const tmpfs = await scratch(TMPFS, stack);
  const stores = kind === 's3' ? await startServer(stack, signal) : await makeFolders(disk, signal);
  const settle = async () => {
    await execa('sync');
    await memory?.steady(signal);
  };
  return await work({ ...stores, disk, tmpfs, settle });
}

/** Removes what a benchmark left behind that was killed. */
export async function sweepGround(): Promise<void> {
  for (const parent of [tmpdir(), TMPFS]) {
    for (const name of await readdir(parent)) {
      if (!name.startsWith(SCRATCH) || (await isOwnerAlive(name.slice(SCRATCH.length)))) continue;
      await rm(join(parent, name), { recursive: true, force: true });
    }
  }
}

/**
 * A start gives a server room again: it begins anew where much has been stored. To be called at the end; the next start would
 * do it too.
 */
export async function shrinkServer(): Promise<void> {
  await (await startCeph()).stop();
}

type Stores = Pick<Ground, 'place' | 'simple'>;

async function startServer(stack: AsyncDisposableStack, signal: AbortSignal): Promise<Stores> {
  const ceph = stack.use(await startCeph());
  const bucket = await ceph.createBucket();
  // For the engine, which has this process's environment.
  Object.assign(process.env, ceph.environment);
  const env = { ...ceph.environment, AWS_ENDPOINT_URL: ceph.endpoint, AWS_EC2_METADATA_DISABLED: 'true' };
  return { place: placeIn(ceph.storeUrl(bucket)), simple: openAwsStore(bucket, env, signal) };
}

async function makeFolders(disk: string, signal: AbortSignal): Promise<Stores> {
  const [store, simple] = [join(disk, 'store'), join(disk, 'simple')];
  await Promise.all([mkdir(store), mkdir(simple)]);
  return { place: placeIn(`file://${store}`), simple: openFolderStore(simple, signal) };
}

function placeIn(storeUrl: string): CheckpointPlace {
  return { storeUrl, prefix: 'jobs/bench/' };
}

/** A folder under `parent`; the next benchmark removes it if this one is killed. */
export async function scratch(parent: string, stack: AsyncDisposableStack): Promise<string> {
  const directory = await mkdtemp(join(parent, `${SCRATCH}${await ownerName()}-`));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
