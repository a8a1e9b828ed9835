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

/** Where a checkpoint is read from, and what of it its reader knows already. */
export interface ReadingPlace {
  /** The job's, as in `CheckpointPlace`. */
  readonly prefix: string;
  /** What `homeOf` says of the store. */
  readonly home: string;
  /** The prefix alone tells whose it is: that of a job does, that of `freezer` is the same in every store. */
  readonly isPrefixOwn: boolean;
  readonly keyRing: KeyRing;
  /** It is known to be encrypted. Default false. */
  readonly mustBeEncrypted?: boolean | undefined;
}

/**
 * The keys of a checkpoint whose manifest has been authenticated with them; null for one that is not encrypted. Rejects with `FreezerError`:
 * `wrongKey` when this ring cannot open it or must not read it plain, `substituted` when the manifest is not as it was written for this
 * job, `otherStore` when it is, but for another store, `corrupt` when its data key is not as it was, `failed` when KMS does not answer.
 */
export async function keysToRead(manifest: Manifest, place: ReadingPlace): Promise<SubKeys | null> {
  if (manifest.encryption === null) return refuseUnlessPlain(manifest.id, place);
  const keys = subKeysOf(await place.keyRing.unwrap(manifest.encryption));
  if (!isAuthentic(keys.manifest, manifest, place.prefix))
    throw substituted(manifest.id, 'its manifest is not as it was written for this job');
  if (!isOfThisStore(manifest, place)) throw otherStore(manifest, place.home);
  return keys;
}

/** Manifests of version 3 do not say for which store they are. */
function isOfThisStore({ home: written }: Manifest, { home, isPrefixOwn, keyRing }: ReadingPlace): boolean {
  return keyRing.readsMoved || (written === undefined ? isPrefixOwn : written === home);
}

function refuseUnlessPlain(id: string, { keyRing, mustBeEncrypted = false }: ReadingPlace): null {
  if (mustBeEncrypted) throw substituted(id, 'it is not encrypted, and the checkpoint that was taken is');
  if (keyRing.readsPlain) return null;
  throw new FreezerError(
    'wrongKey',
    `Checkpoint ${id} is not encrypted, and there is an encryption key here.`,
    'If it is from before there was a key, add `plain` to the keys, after a comma, until its job has been frozen again.',
  );
}

/** Something else lies in the checkpoint's place. */
export function substituted(id: string, what: string): FreezerError {
  return new FreezerError(
    'substituted',
    `Checkpoint ${id} is not the one that was taken: ${what}.`,
    'Find out who wrote to the store; `checkpoint.ifUnusable` of the job says how it goes on.',
  );
}

function otherStore({ id, home }: Manifest, here: string): FreezerError {
  const what = home === undefined ? 'does not say for which store it was written' : `was written for ${home}`;
  return new FreezerError(
    'otherStore',
    `Checkpoint ${id} ${what}; this is ${here}.`,
    'If the store has moved, or the checkpoint is from before version 4 of the format, add `moved` to the keys, after a comma.',
  );
}
