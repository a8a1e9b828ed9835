/** Verifies checkpoints of a job. */
import { Codec } from '../freezer/checkpoint/codec.ts';
import { type Verification, verifyCheckpoint } from '../freezer/checkpoint/verify.ts';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { storeKeys } from '../jobs/names.ts';
import type { Store } from '../store/store.ts';
import { type KnownCheckpoints, type ListedCheckpoint, listJobCheckpoints } from './checkpoints.ts';
import { noSuchCheckpoint } from './jobEnd.ts';

export interface VerifyJobOptions {
  readonly store: Store;
  readonly jobId: string;
  /** A checkpoint's id, the one that would be thawed next, or all of them. */
  readonly which: { readonly checkpoint: string } | 'current' | 'all';
  readonly known: KnownCheckpoints;
  /** See `Codec`. */
  readonly toolboxDirectory: string;
  readonly signal: AbortSignal;
  readonly onProgress: (checkpoint: string, doneBytes: number, totalBytes: number) => void;
}

/** Rejects with `FloeError` `notFound`, and as `verifyCheckpoint` does. */
export async function verifyJob(options: VerifyJobOptions): Promise<Verification[]> {
  const { store, jobId, known, toolboxDirectory, signal, onProgress } = options;
  const chosen = await choose(options);
  const keyRing = KeyRing.of(known.encryptionKeys);
  const codec = new Codec(toolboxDirectory);
  const verified: Verification[] = [];
  for (const { id, state, problem } of chosen) {
    if (state === 'missing') {
      verified.push({ id, packs: 0, chunks: 0, storedBytes: 0, damages: [`${problem}.`], hits: ['everything'] });
      continue;
    }
    const report = (doneBytes: number, totalBytes: number) => onProgress(id, doneBytes, totalBytes);
    const parts = { store, prefix: storeKeys.checkpoints(jobId), id, keyRing, codec, signal, known };
    verified.push(await verifyCheckpoint({ ...parts, onProgress: report }));
  }
  return verified;
}

async function choose({ store, jobId, which, known }: VerifyJobOptions): Promise<ListedCheckpoint[]> {
  const all = await listJobCheckpoints(store, jobId, known);
  if (which === 'all' && all.length > 0) return all;
  // A manifest that cannot be read says nothing of what it was: it is verified, and found damaged.
  const wanted =
    typeof which === 'object'
      ? all.find(({ id }) => id === which.checkpoint)
      : all.find(({ state }) => ['current', 'unreadable', 'missing'].includes(state));
  const chosen = wanted ?? (which === 'current' ? all[0] : undefined);
  if (!chosen) throw noSuchCheckpoint(jobId, typeof which === 'object' ? which.checkpoint : 'any');
  return [chosen];
}
