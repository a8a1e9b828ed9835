/** Verifies checkpoints of a job. */
import { Codec } from '../freezer/checkpoint/codec.ts';
import { type Verification, verifyCheckpoint } from '../freezer/checkpoint/verify.ts';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { storeKeys } from '../jobs/names.ts';
import type { Store } from '../store/store.ts';
import { listJobCheckpoints } from './checkpoints.ts';
import { noSuchCheckpoint } from './jobEnd.ts';

export interface VerifyJobOptions {
  readonly store: Store;
  readonly jobId: string;
  /** A checkpoint's id, the one that would be thawed next, or all of them. */
  readonly which: { readonly checkpoint: string } | 'current' | 'all';
  readonly encryptionKeys: readonly string[];
  /** See `Codec`. */
  readonly toolboxDirectory: string;
  readonly signal: AbortSignal;
  readonly onProgress: (checkpoint: string, doneBytes: number, totalBytes: number) => void;
}

/** Rejects with `FloeError` `notFound`, and as `verifyCheckpoint` does. */
export async function verifyJob(options: VerifyJobOptions): Promise<Verification[]> {
  const { store, jobId, encryptionKeys, toolboxDirectory, signal, onProgress } = options;
  const ids = await choose(options);
  const keyRing = KeyRing.of(encryptionKeys);
  const codec = new Codec(toolboxDirectory);
  const verified: Verification[] = [];
  for (const id of ids) {
    const report = (doneBytes: number, totalBytes: number) => onProgress(id, doneBytes, totalBytes);
    const parts = { store, prefix: storeKeys.checkpoints(jobId), id, keyRing, codec, signal };
    verified.push(await verifyCheckpoint({ ...parts, onProgress: report }));
  }
  return verified;
}

async function choose({ store, jobId, which }: VerifyJobOptions): Promise<string[]> {
  const all = await listJobCheckpoints(store, jobId);
  if (which === 'all' && all.length > 0) return all.map(({ id }) => id);
  // A manifest that cannot be read says nothing of what it was: it is verified, and found damaged.
  const wanted =
    typeof which === 'object'
      ? all.find(({ id }) => id === which.checkpoint)
      : all.find(({ state }) => state === 'current' || state === 'unreadable');
  const chosen = wanted ?? (which === 'current' ? all[0] : undefined);
  if (!chosen) throw noSuchCheckpoint(jobId, typeof which === 'object' ? which.checkpoint : 'any');
  return [chosen.id];
}
