/** The ground that one pair of measurements stands on: a store for Floe, the same one for simple ways, and scratch folders. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { CheckpointPlace } from '../freezer/index.ts';
import { startCeph } from '../store/testing/ceph.ts';
import { openAwsStore, openFolderStore, type SimpleStore } from './simpleStore.ts';

export type StoreKind = 's3' | 'file';

/** A tmpfs on every Linux. */
const TMPFS = '/dev/shm';

export interface Ground {
  readonly place: CheckpointPlace;
  readonly simple: SimpleStore;
  /** On the disk. */
  readonly disk: string;
  /** In memory. */
  readonly tmpfs: string;
}

/** All of it is gone when `stack` is disposed of. */
export async function makeGround(kind: StoreKind, stack: AsyncDisposableStack, signal: AbortSignal): Promise<Ground> {
  const disk = await scratch(tmpdir(), stack);
  const tmpfs = await scratch(TMPFS, stack);
  // What was written before shall not be on its way to the disk now.
  await execa('sync');
  if (kind === 'file') {
    const directory = join(disk, 'store');
    await mkdir(directory);
    const place = { storeUrl: `file://${directory}`, prefix: 'jobs/a/' };
    return { place, simple: openFolderStore(join(disk, 'simple'), signal), disk, tmpfs };
  }
  // A server for each pair: the space of deleted objects comes back only when it starts anew.
  const ceph = stack.use(await startCeph());
  const bucket = await ceph.createBucket();
  const place = { storeUrl: ceph.storeUrl(bucket), prefix: 'jobs/a/' };
  // For the engine, which has this process's environment.
  Object.assign(process.env, ceph.environment);
  const env = { ...ceph.environment, AWS_ENDPOINT_URL: ceph.endpoint, AWS_EC2_METADATA_DISABLED: 'true' };
  return { place, simple: openAwsStore(bucket, env, signal), disk, tmpfs };
}

async function scratch(parent: string, stack: AsyncDisposableStack): Promise<string> {
  const directory = await mkdtemp(join(parent, 'floe-bench-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
