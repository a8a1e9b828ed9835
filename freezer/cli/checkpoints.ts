/** The checkpoints of one program in one store: which there are, which count, which are removed. */
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import type { Store } from '../../store/store.ts';
import { checkpointIds, readManifest } from '../checkpoint/catalogue.ts';
import { checkpointKeys, Index } from '../checkpoint/format.ts';
import type { Claim } from './claims.ts';

/** Below the store's URL. */
export const PREFIX = 'checkpoints/';
const KEPT = 2;
const ID_LENGTH = '00000001-000001'.length;

/** Ids of the checkpoints that a start after `claim` may thaw, the one to try first first. */
export async function candidates(store: Store, claim: Claim | null): Promise<string[]> {
  if (claim === null) return [];
  const ids = await checkpointIds(store, PREFIX);
  const own = ids
    .filter((id) => epochOf(id) === claim.epoch)
    .sort()
    .reverse();
  return [...own, ...claim.continues.filter((id) => ids.includes(id))];
}

/**
 * Removes what start `epoch` and those before it wrote and is not needed to thaw the newest two of `ordered`. To be called
 * while this start writes nothing. Rejects when the store fails, or an index that has to be read is corrupt; nothing that is
 * needed is removed then.
 */
export async function prune(store: Store, epoch: number, ordered: readonly string[]): Promise<void> {
  const kept = new Set(ordered.slice(0, KEPT));
  const packs = new Set((await Promise.all([...kept].map((id) => packsOf(store, id)))).flat());
  await removeExcept(store, epoch, (id, key) => kept.has(id) || packs.has(key));
}

/** Removes what start `epoch` and those before it wrote. */
export async function removeAll(store: Store, epoch: number): Promise<void> {
  await removeExcept(store, epoch, () => false);
}

/** Manifests go first: what is interrupted leaves packs that nobody names, and never a checkpoint without its packs. */
async function removeExcept(
  store: Store,
  epoch: number,
  isNeeded: (id: string, key: string) => boolean,
): Promise<void> {
  for (const folder of [checkpointKeys.manifests, 'index/', 'packs/']) {
    const keys = (await Array.fromAsync(store.list(PREFIX + folder))).map(({ key }) => key);
    const idOf = (key: string) => key.slice(PREFIX.length + folder.length).slice(0, ID_LENGTH);
    await store.delete(keys.filter((key) => epochOf(idOf(key)) <= epoch && !isNeeded(idOf(key), key)));
  }
}

/** Keys of the packs that a checkpoint's content is in, which may be those of one before it. */
async function packsOf(store: Store, id: string): Promise<string[]> {
  const answer = await readManifest(store, PREFIX, id);
  if (answer.kind !== 'found') return [];
  const bytes = await store.get(PREFIX + answer.manifest.index.key);
  const text = await promisify(zstdDecompress)(bytes);
  return Index.parse(JSON.parse(text.toString())).packs.map(({ key }) => PREFIX + key);
}

export function epochOf(id: string): number {
  return Number(id.split('-')[0]);
}
