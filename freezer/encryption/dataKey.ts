/**
 * Which data key a job's checkpoints are encrypted with.
 *
 * A job goes on with the data key of its last checkpoint: only so can chunks be found again by their ids, and read. When the
 * current master key is another one, there is a new data key, and the next checkpoint stands by itself. So a job has left
 * an old master key behind after one checkpoint.
 */
import type { Manifest } from '../checkpoint/format.ts';
import { FreezerError } from '../errors.ts';
import type { KeyRing } from './keyRing.ts';
import { isAuthentic } from './manifestMac.ts';
import type { DataKey, WrappedKey } from './masterKey.ts';
import { type SubKeys, subKeysOf } from './seal.ts';

export interface WritingKeys {
  /** For the manifest's `encryption`; null, as `keys`, where nothing is to be encrypted. */
  readonly wrapped: WrappedKey | null;
  readonly keys: SubKeys | null;
  /** Whether the last checkpoint is of the same data key (or, like this one, of none), so that its chunks can be referred to. */
  readonly goesOn: boolean;
}

/**
 * The keys for the next checkpoint. `last`: what the manifest of the last checkpoint says, null where that is not encrypted or
 * there is none. Rejects with `FreezerError` `wrongKey` or `failed` when KMS gives no key: nothing is then to be written.
 */
export async function keysToWrite(last: WrappedKey | null, ring: KeyRing): Promise<WritingKeys> {
  const { current } = ring;
  if (current === null) return { wrapped: null, keys: null, goesOn: last === null };
  const before = last && (await current.unwrap(last).catch(unlessCorrupt));
  if (last && before) {
    const wrapped = { keyId: last.keyId, wrappedKey: last.wrappedKey };
    return { wrapped, keys: subKeysOf(before), goesOn: true };
  }
  const { dataKey, wrapped }: DataKey = await current.newDataKey();
  return { wrapped, keys: subKeysOf(dataKey), goesOn: false };
}

/** With a damaged key nothing of the last checkpoint can be used, which is no reason not to take the next. */
function unlessCorrupt(error: unknown): null {
  if (error instanceof FreezerError && error.code === 'corrupt') return null;
  throw error;
}

/**
 * The keys of a checkpoint whose manifest has been authenticated with them; null for one that is not encrypted. `prefix` is its
 * `CheckpointPlace`'s. Rejects with `FreezerError`: `wrongKey` when this ring cannot open it or must not read it plain, `corrupt` when the manifest is not as it
 * was written or is another job's, `failed` when KMS does not answer.
 */
export async function keysToRead(manifest: Manifest, prefix: string, ring: KeyRing): Promise<SubKeys | null> {
  if (manifest.encryption === null) return refuseUnlessPlain(manifest.id, ring);
  const keys = subKeysOf(await ring.unwrap(manifest.encryption));
  if (isAuthentic(keys.manifest, manifest, prefix)) return keys;
  throw new FreezerError(
    'corrupt',
    `Checkpoint ${manifest.id} is corrupt: its manifest is not as it was written for this job.`,
    'Floe falls back to the checkpoint before it.',
  );
}

function refuseUnlessPlain(id: string, ring: KeyRing): null {
  if (ring.readsPlain) return null;
  throw new FreezerError(
    'wrongKey',
    `Checkpoint ${id} is not encrypted, and there is an encryption key here.`,
    'If it is from before there was a key, add `plain` to the keys, after a comma, until its job has been frozen again.',
  );
}
