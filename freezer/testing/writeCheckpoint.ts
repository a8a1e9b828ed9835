/** A checkpoint's objects in a store, without a program behind them: for tests of what is kept and removed. */
import { createHash, randomBytes } from 'node:crypto';
import type { Store } from '../../store/store.ts';
import { checkpointKeys, type Manifest, PLAIN_VERSION } from '../checkpoint/format.ts';

export interface WrittenCheckpoint {
  readonly id: string;
  /** Own packs, each of so many bytes. */
  readonly packs?: readonly number[];
  /** Checkpoints written before whose packs it refers to as well. */
  readonly buildsOn?: readonly Manifest[];
  /** Stops before its manifest, as an upload that failed or is under way. */
  readonly uncommitted?: boolean;
}

export async function writeCheckpoint(store: Store, prefix: string, what: WrittenCheckpoint): Promise<Manifest> {
  const { id, packs = [100], buildsOn = [], uncommitted = false } = what;
  const own = packs.map((sizeBytes, number) => ({ key: checkpointKeys.pack(id, number), sizeBytes }));
  for (const { key, sizeBytes } of own) await store.create(prefix + key, randomBytes(sizeBytes));
  const index = randomBytes(50);
  const sha256 = createHash('sha256').update(index).digest('hex');
  await store.create(prefix + checkpointKeys.index(id), index);
  const manifest: Manifest = {
    ...PLAIN,
    id,
    epoch: Number(id.slice(0, 8)),
    base: buildsOn.at(-1)?.id ?? null,
    index: { key: checkpointKeys.index(id), sizeBytes: index.length, sha256 },
    packs: [...buildsOn.flatMap((each) => each.packs), ...own],
  };
  if (!uncommitted) await store.create(prefix + checkpointKeys.manifest(id), Buffer.from(JSON.stringify(manifest)));
  return manifest;
}

/** Of a checkpoint that stands by itself. */
export function manifestOf(id: string, index: Manifest['index'], packs: Manifest['packs']): Manifest {
  return { ...PLAIN, id, epoch: Number(id.slice(0, 8)), base: null, index, packs };
}

const PLAIN: Omit<Manifest, 'id' | 'epoch' | 'base' | 'index' | 'packs'> = {
  version: PLAIN_VERSION,
  frozenAt: 1,
  criuVersion: '4.2.1',
  kernel: '6.18',
  architecture: 'x64',
  cpuFeatures: [],
  runtime: 'process',
  image: null,
  rootPid: 1000,
  logSizes: { stdout: 0, stderr: 0 },
  memoryBytes: 1000,
  fileBytes: 10,
  sentBytes: 100,
  encryption: null,
};
