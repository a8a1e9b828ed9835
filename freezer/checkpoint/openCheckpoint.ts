/** A checkpoint's manifest and index, authenticated and checked, and the keys that its chunks are read with. */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import type { Store } from '../../store/store.ts';
import { keysToRead, substituted } from '../encryption/dataKey.ts';
import { homeOf } from '../encryption/home.ts';
import { KeyRing } from '../encryption/keyRing.ts';
import { open, type SubKeys } from '../encryption/seal.ts';
import { FreezerError } from '../errors.ts';
import type { CheckpointPlace, KnownOfJob } from '../runtime.ts';
import { readFailed, requireManifest } from './catalogue.ts';
import { flawOf } from './checkIndex.ts';
import { Index, type Manifest, MOST_INDEX_BYTES } from './format.ts';

/** Decompressed at a time: with Node's 16 KiB a large index takes ten times as long. */
const READ_BYTES = 2 ** 20;

export interface CheckpointSource {
  readonly store: Store;
  /** The job's, as in `CheckpointPlace`. */
  readonly prefix: string;
  /** As in `CheckpointPlace`. */
  readonly name?: string | undefined;
  readonly keyRing: KeyRing;
  /** As in `ThawOptions`. */
  readonly known?: KnownOfJob | undefined;
}

/** Throws `FreezerError` `wrongKey` for keys that are none. */
export function sourceOf(store: Store, { prefix, name, encryptionKeys }: CheckpointPlace): CheckpointSource {
  return { store, prefix, name, keyRing: KeyRing.of(encryptionKeys) };
}

export interface OpenedCheckpoint {
  readonly manifest: Manifest;
  readonly index: Index;
  /** Null where it is not encrypted. */
  readonly keys: SubKeys | null;
}

/**
 * Rejects with `FreezerError`: `notFound`, `wrongVersion`, `corrupt` for what is not there or not whole, `substituted` and `otherStore` for
 * what is another's, `wrongKey` for what this key ring cannot read, `storeFailed` when the store does not answer.
 * @param before as it was opened before: its index is not read again if it is the same. That it is still there is looked at.
 */
export async function openCheckpoint(
  source: CheckpointSource,
  id: string,
  before?: OpenedCheckpoint,
): Promise<OpenedCheckpoint> {
  const { store, prefix } = source;
  const manifest = await requireManifest(store, prefix, id);
  const keys = await authenticate(manifest, source);
  if (before?.manifest.id === id && before.manifest.index.sha256 === manifest.index.sha256)
    return { manifest, keys, index: before.index };
  return { manifest, keys, index: await readIndex(store, prefix, manifest, keys) };
}

/** Resolves to the keys of a checkpoint that is the one which was taken; null where it is not encrypted. Rejects as `openCheckpoint`. */
export async function authenticate(manifest: Manifest, source: CheckpointSource): Promise<SubKeys | null> {
  const { store, prefix, name, keyRing, known } = source;
  const home = homeOf(store.url, name);
  const place = { prefix, home, isPrefixOwn: name === undefined, keyRing, mustBeEncrypted: known?.isEncrypted };
  const keys = await keysToRead(manifest, place);
  const { image } = known ?? {};
  if (image != null && image !== manifest.image)
    throw substituted(manifest.id, `its image is ${manifest.image ?? 'none'}, and the job's is ${image}`);
  return keys;
}

/** What an index is sealed as. */
export function indexContext(id: string): string {
  return `index ${id}`;
}

async function readIndex(store: Store, prefix: string, manifest: Manifest, keys: SubKeys | null): Promise<Index> {
  const { key, sizeBytes, sha256 } = manifest.index;
  // No more than that, whatever lies there.
  const range = { offsetBytes: 0, lengthBytes: sizeBytes };
  const bytes = await store.get(prefix + key, { range }).catch((error: unknown) => {
    throw readFailed(error);
  });
  if (createHash('sha256').update(bytes).digest('hex') !== sha256)
    throw corrupt(manifest.id, 'its index does not have the hash that its manifest says');
  const compressed = keys ? open(keys.encryption, bytes, indexContext(manifest.id)) : bytes;
  if (compressed === null) throw corrupt(manifest.id, 'its index was not sealed with its key');
  return parseIndex(compressed, manifest);
}

/** Throws `FreezerError` `corrupt` for anything that is not an index whose parts fit together (checkIndex.ts). */
export async function parseIndex(compressed: Uint8Array, manifest: Pick<Manifest, 'id' | 'packs'>): Promise<Index> {
  let value: unknown;
  try {
    const text = await promisify(zstdDecompress)(compressed, {
      maxOutputLength: MOST_INDEX_BYTES,
      chunkSize: READ_BYTES,
    });
    value = JSON.parse(text.toString('utf8'));
  } catch (error) {
    throw corrupt(manifest.id, `its index cannot be read: ${error}`);
  }
  const parsed = Index.safeParse(value);
  if (!parsed.success) throw corrupt(manifest.id, `its index is malformed: ${parsed.error.issues[0]?.message}`);
  const flaw = flawOf(parsed.data, manifest.packs);
  if (flaw !== null) throw corrupt(manifest.id, flaw);
  return parsed.data;
}

export function corrupt(id: string, what: string): FreezerError {
  return new FreezerError(
    'corrupt',
    `Checkpoint ${id} is corrupt: ${what}.`,
    'Floe falls back to the checkpoint before it.',
  );
}
