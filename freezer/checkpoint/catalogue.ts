/** Which checkpoints of a job are there, and what their manifests say. */
import pLimit from 'p-limit';
import { parseBounded } from '../../store/boundedJson.ts';
import { readAtMost } from '../../store/readAtMost.ts';
import { type Store, StoreError } from '../../store/store.ts';
import { FreezerError } from '../errors.ts';
import type { CheckpointSummary } from '../runtime.ts';
import {
  BOUND_VERSION,
  checkpointKeys,
  Manifest,
  MOST_MANIFEST_BYTES,
  MOST_MANIFEST_CONTAINERS,
  MOST_MANIFESTS,
  MOST_MANIFESTS_BYTES,
  PLAIN_VERSION,
} from './format.ts';

const MANIFESTS_AT_ONCE = 8;

export type ManifestAnswer =
  | { kind: 'found'; manifest: Manifest }
  | { kind: 'notFound' }
  | { kind: 'wrongVersion'; version: unknown }
  | { kind: 'corrupt'; reason: string };

/** Reads one manifest. Rejects with `FreezerError` `storeFailed` only when the store does not answer. */
export async function readManifest(store: Store, prefix: string, id: string): Promise<ManifestAnswer> {
  const bytes = await readBytes(store, prefix, id);
  return Buffer.isBuffer(bytes) ? parseManifest(bytes, id) : bytes;
}

/**
 * All of these, with what `take` keeps of each. Rejects as `readManifest`, and with `StoreError` `damaged` where there are more than a job can
 * have: one that can write to the store must not fill the memory of those who read it.
 */
export async function readManifests<T>(
  store: Store,
  prefix: string,
  ids: readonly string[],
  take: (answer: ManifestAnswer, id: string) => T,
): Promise<T[]> {
  if (ids.length > MOST_MANIFESTS) throw tooManyManifests(prefix);
  const limit = pLimit(MANIFESTS_AT_ONCE);
  let sizeBytes = 0;
  const read = async (id: string) => {
    const bytes = await readBytes(store, prefix, id);
    if (!Buffer.isBuffer(bytes)) return take(bytes, id);
    sizeBytes += bytes.length; // what the list says of it may be no longer so
    if (sizeBytes <= MOST_MANIFESTS_BYTES) return take(parseManifest(bytes, id), id);
    limit.clearQueue();
    throw tooManyManifests(prefix);
  };
  return await Promise.all(ids.map((id) => limit(read, id)));
}

function tooManyManifests(prefix: string): StoreError {
  return new StoreError(
    'damaged',
    `${prefix}${checkpointKeys.manifests} has more than ${MOST_MANIFESTS} manifests, or more than ${MOST_MANIFESTS_BYTES} bytes of them.`,
    "Find out who wrote them, and remove what is not the job's.",
  );
}

async function readBytes(store: Store, prefix: string, id: string): Promise<Buffer | ManifestAnswer> {
  try {
    return await readAtMost(store, prefix + checkpointKeys.manifest(id), MOST_MANIFEST_BYTES);
  } catch (error) {
    if (error instanceof StoreError && error.code === 'notFound') return { kind: 'notFound' };
    if (error instanceof StoreError && error.code === 'damaged') return { kind: 'corrupt', reason: error.message };
    throw storeFailed(error);
  }
}

export function parseManifest(bytes: Buffer, id: string): ManifestAnswer {
  let value: unknown;
  try {
    value = parseBounded(bytes, MOST_MANIFEST_CONTAINERS);
  } catch (error) {
    return { kind: 'corrupt', reason: `its manifest is not JSON: ${String(error)}` };
  }
  const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  if (typeof version === 'number' && version !== PLAIN_VERSION && version !== BOUND_VERSION)
    return { kind: 'wrongVersion', version };
  const parsed = Manifest.safeParse(value);
  if (!parsed.success)
    return { kind: 'corrupt', reason: `its manifest is malformed: ${parsed.error.issues[0]?.message}` };
  if (parsed.data.id !== id) return { kind: 'corrupt', reason: `its manifest is that of ${parsed.data.id}` };
  return { kind: 'found', manifest: parsed.data };
}

/** The manifest, or the `FreezerError` that says why there is none: `notFound`, `corrupt`, `wrongVersion`. */
export async function requireManifest(store: Store, prefix: string, id: string): Promise<Manifest> {
  const answer = await readManifest(store, prefix, id);
  const remedy = 'Floe falls back to the checkpoint before it.';
  switch (answer.kind) {
    case 'found':
      return answer.manifest;
    case 'notFound':
      throw new FreezerError('notFound', `There is no checkpoint ${id}.`, remedy);
    case 'corrupt':
      throw new FreezerError('corrupt', `Checkpoint ${id} is corrupt: ${answer.reason}.`, remedy);
    case 'wrongVersion':
      throw new FreezerError(
        'wrongVersion',
        `Checkpoint ${id} has format version ${answer.version}; this Floe reads ${PLAIN_VERSION} and ${BOUND_VERSION}.`,
        'Thaw it with the version of Floe that wrote it.',
      );
  }
}

/** Every committed checkpoint under the prefix that can be read, oldest first. Rejects as `readManifests`. */
export async function listCheckpoints(store: Store, prefix: string): Promise<CheckpointSummary[]> {
  const ids = await checkpointIds(store, prefix);
  const summaries = await readManifests(store, prefix, ids, (answer) =>
    answer.kind === 'found' ? [summarize(answer.manifest)] : [],
  );
  return summaries.flat();
}

export async function checkpointIds(store: Store, prefix: string): Promise<string[]> {
  const folder = prefix + checkpointKeys.manifests;
  try {
    const objects = await Array.fromAsync(store.list(folder));
    return objects.map(({ key }) => key.slice(folder.length).replace(/\.json$/, ''));
  } catch (error) {
    throw storeFailed(error);
  }
}

export function summarize(manifest: Manifest): CheckpointSummary {
  const { id, epoch, frozenAt, memoryBytes, fileBytes, sentBytes, logSizes, cpuFeatures, encryption } = manifest;
  const sizes = { memoryBytes, fileBytes, sentBytes, logSizes };
  return { id, epoch, frozenAt, ...sizes, cpuFeatures, isEncrypted: encryption !== null };
}

export function storeFailed(cause: unknown): FreezerError {
  const message = cause instanceof Error ? cause.message : String(cause);
  const remedy = cause instanceof StoreError ? cause.remedy : 'Check the store.';
  return new FreezerError('storeFailed', message, remedy, { cause });
}

/** As `storeFailed`, for an object that the checkpoint names: when it is gone or cut short, the checkpoint is at fault and not the store. */
export function readFailed(cause: unknown): FreezerError {
  if (!(cause instanceof StoreError) || (cause.code !== 'notFound' && cause.code !== 'damaged'))
    return storeFailed(cause);
  const remedy = 'Floe falls back to the checkpoint before it.';
  return new FreezerError('corrupt', `The checkpoint is corrupt: ${cause.message}`, remedy, { cause });
}
