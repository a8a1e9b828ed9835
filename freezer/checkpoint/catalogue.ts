/** Which checkpoints of a job are there, and what their manifests say. */

import { readAtMost } from '../../store/readAtMost.ts';
import { type Store, StoreError } from '../../store/store.ts';
import { FreezerError } from '../errors.ts';
import type { CheckpointSummary } from '../runtime.ts';
import { BOUND_VERSION, checkpointKeys, Manifest, MOST_MANIFEST_BYTES, PLAIN_VERSION } from './format.ts';

export type ManifestAnswer =
  | { kind: 'found'; manifest: Manifest }
  | { kind: 'notFound' }
  | { kind: 'wrongVersion'; version: unknown }
  | { kind: 'corrupt'; reason: string };

/** Reads one manifest. Rejects with `FreezerError` `storeFailed` only when the store does not answer. */
export async function readManifest(store: Store, prefix: string, id: string): Promise<ManifestAnswer> {
  let bytes: Buffer;
  try {
    bytes = await readAtMost(store, prefix + checkpointKeys.manifest(id), MOST_MANIFEST_BYTES);
  } catch (error) {
    if (error instanceof StoreError && error.code === 'notFound') return { kind: 'notFound' };
    if (error instanceof StoreError && error.code === 'damaged') return { kind: 'corrupt', reason: error.message };
    throw storeFailed(error);
  }
  return parseManifest(bytes, id);
}

export function parseManifest(bytes: Buffer, id: string): ManifestAnswer {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
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

/** Every committed checkpoint under the prefix that can be read, oldest first. Rejects with `FreezerError` `storeFailed`. */
export async function listCheckpoints(store: Store, prefix: string): Promise<CheckpointSummary[]> {
  const ids = await checkpointIds(store, prefix);
  const answers = await Promise.all(ids.map((id) => readManifest(store, prefix, id)));
  return answers.flatMap((answer) => (answer.kind === 'found' ? [summarize(answer.manifest)] : []));
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
