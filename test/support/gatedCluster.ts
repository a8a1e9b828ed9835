/** What a test of failing stores works on: a cluster whose store is a Ceph bucket behind a gate. */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { type Ceph, startCeph } from '../../store/testing/ceph.ts';
import { Cluster } from './cluster.ts';
import { type Gate, startGate } from './gate.ts';

export interface GatedCluster {
  readonly cluster: Cluster;
  /** Stands before the store, and lets everything through until told otherwise. */
  readonly gate: Gate;
  /** For what a test starts beside them: disposed after it. */
  readonly stack: AsyncDisposableStack;
}

/** Registers the hooks; the object is filled anew before every test. One Ceph serves the whole file. */
export function useGatedCluster(): GatedCluster {
  const parts = {} as { -readonly [K in keyof GatedCluster]: GatedCluster[K] };
  let ceph: Ceph;
  beforeAll(async () => {
    ceph = await startCeph();
  });
  afterAll(() => ceph?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    parts.stack = new AsyncDisposableStack();
    parts.gate = parts.stack.use(await startGate(ceph));
    const storeUrl = parts.gate.storeUrl(await ceph.createBucket());
    parts.cluster = parts.stack.use(await Cluster.open({ storeUrl, environment: ceph.environment }));
  });
  afterEach(() => parts.stack.disposeAsync());
  return parts;
}
