/**
 * Which objects of a job's checkpoints may go, and their removal. Manifests name every pack that their checkpoints need, so
 * neither an index nor a key is read for it.
 *
 * Order makes it safe beside everything else:
 *   - Packs are listed before manifests are: a checkpoint that is committed in between has its manifest seen.
 *   - Manifests are removed first, then indexes, then packs: whoever dies in between leaves objects that no manifest names,
 *     which the sweep removes, and never a checkpoint without its packs.
 *   - A checkpoint under way refers to its own packs, and to those of the one it builds on. As long as that one stays, so
 *     does all that the new one needs.
 */
import type { Cancellable, Store, StoredObject } from '../../store/store.ts';
import type { CheckpointSummary } from '../runtime.ts';
import { type ManifestAnswer, readManifests, storeFailed, summarize } from './catalogue.ts';
import { CheckpointId, checkpointKeys } from './format.ts';

const FOLDERS = { manifests: checkpointKeys.manifests, indexes: 'index/', packs: 'packs/' } as const;
type Kind = keyof typeof FOLDERS;

/** An object of a checkpoint. */
export interface HeldObject extends StoredObject {
  /** The checkpoint that it was written for. */
  readonly checkpoint: string;
}

/** All that there is under a job's prefix. Keys are whole. */
export interface Holdings extends Readonly<Record<Kind, readonly HeldObject[]>> {
  readonly prefix: string;
  /** By the checkpoint's id, in order. One that vanished while it was read is not among them. */
  readonly answers: ReadonlyMap<string, ManifestAnswer>;
}

/** What is to go, in the order in which it goes. */
export type Removal = Readonly<Record<Kind, readonly HeldObject[]>>;

export interface Removed {
  readonly objects: number;
  readonly sizeBytes: number;
}

export interface RemovalRule {
  /** Whether this checkpoint goes, and with it what no other needs. */
  dooms(checkpoint: string, answer: ManifestAnswer): boolean;
  /** Whether an object goes that neither a checkpoint that stays nor one that goes names. */
  sweeps(object: HeldObject): boolean;
}

/** Rejects with `FreezerError` `storeFailed`, and with `StoreError` `damaged` as `readManifests`. */
export async function readHoldings(store: Store, prefix: string, options: Cancellable = {}): Promise<Holdings> {
  const indexes = await list(store, prefix, 'indexes', options);
  const packs = await list(store, prefix, 'packs', options);
  const manifests = await list(store, prefix, 'manifests', options);
  const ids = manifests.map(({ checkpoint }) => checkpoint);
  const answers = await readManifests(store, prefix, ids, (answer, id) => [id, answer] as const);
  const there = new Map(answers.filter(([, answer]) => answer.kind !== 'notFound'));
  return { prefix, indexes, packs, manifests, answers: there };
}

/** The checkpoints that can be read, oldest first. */
export function summariesOf({ answers }: Holdings): CheckpointSummary[] {
  return [...answers.values()].flatMap((answer) => (answer.kind === 'found' ? [summarize(answer.manifest)] : []));
}

/** Pure: what goes by the rule. What a checkpoint that stays needs never does. */
export function planRemoval(holdings: Holdings, rule: RemovalRule): Removal {
  const all = [...holdings.answers];
  const doomed = new Map(all.filter(([id, answer]) => rule.dooms(id, answer)));
  const needed = needsOf(
    all.filter(([id]) => !doomed.has(id)),
    holdings.prefix,
  );
  const orphaned = needsOf([...doomed], holdings.prefix);
  const goes = (object: HeldObject) =>
    !needed(object) && (doomed.has(object.checkpoint) || orphaned(object) || rule.sweeps(object));
  return {
    manifests: holdings.manifests.filter(({ checkpoint }) => doomed.has(checkpoint)),
    indexes: holdings.indexes.filter(goes),
    packs: holdings.packs.filter(goes),
  };
}

/** Of what was written up to `epoch`: keeps these checkpoints, and what belongs to none yet. Another version's are not ours to judge. */
export function keepOnly(kept: readonly string[], epoch: number): RemovalRule {
  const stays = new Set(kept);
  return {
    dooms: (id, answer) => epochOf(id) <= epoch && !stays.has(id) && answer.kind !== 'wrongVersion',
    sweeps: () => false,
  };
}

/** As `keepOnly`, with all leftovers up to `epoch`: for who knows that nothing is being written. */
export function keepOnlyAndSweep(kept: readonly string[], epoch: number): RemovalRule {
  return { ...keepOnly(kept, epoch), sweeps: ({ checkpoint }) => epochOf(checkpoint) <= epoch };
}

/** These checkpoints go. */
export function removeOnly(ids: readonly string[]): RemovalRule {
  return { dooms: (id) => ids.includes(id), sweeps: () => false };
}

/** Everything goes, of any version. */
export function removeAll(): RemovalRule {
  return { dooms: () => true, sweeps: () => true };
}

/**
 * What failed and stale uploads left: indexes and packs that no manifest names.
 *
 * An upload under way looks the same. Its id has the epoch of the newest run, and comes after that run's newest commit,
 * because ids rise within a run and its freezes are one at a time. Those stay. `newestEpoch` must have been read before
 * the holdings: a run that began in between continues only from what had been committed by then.
 */
export function sweepLeftovers(holdings: Holdings, newestEpoch: number, writtenBefore: Date): RemovalRule {
  const committed = [...holdings.answers.keys()];
  const mayBeUnderWay = (id: string) =>
    epochOf(id) >= newestEpoch && !committed.some((each) => epochOf(each) === epochOf(id) && each >= id);
  return {
    dooms: () => false,
    sweeps: ({ checkpoint, modifiedAt }) => modifiedAt < writtenBefore && !mayBeUnderWay(checkpoint),
  };
}

/** Manifests first. Rejects with `FreezerError` `storeFailed`; what is left then, a sweep removes. */
export async function carryOut(store: Store, removal: Removal, options: Cancellable = {}): Promise<Removed> {
  const { manifests, indexes, packs } = removal;
  try {
    for (const objects of [manifests, indexes, packs]) {
      options.signal?.throwIfAborted();
      await store.delete(
        objects.map(({ key }) => key),
        options,
      );
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    throw storeFailed(error);
  }
  return sumOf(removal);
}

export function sumOf({ manifests, indexes, packs }: Removal): Removed {
  const all = [...manifests, ...indexes, ...packs];
  return { objects: all.length, sizeBytes: all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
}

/** The epoch in a checkpoint's id. */
export function epochOf(id: string): number {
  return Number(id.split('-')[0]);
}

async function list(store: Store, prefix: string, kind: Kind, options: Cancellable): Promise<HeldObject[]> {
  const folder = prefix + FOLDERS[kind];
  try {
    const objects = await Array.fromAsync(store.list(folder, options));
    return objects.flatMap((object) => {
      // What has no id is not Floe's, and stays.
      const id = CheckpointId.safeParse(object.key.slice(folder.length).slice(0, ID_LENGTH));
      return id.success ? [{ ...object, checkpoint: id.data }] : [];
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw storeFailed(error);
  }
}

const ID_LENGTH = '00000001-000001'.length;

/** Whether one of these checkpoints needs an object. One that cannot be read may need any that was written up to it. */
function needsOf(checkpoints: readonly [string, ManifestAnswer][], prefix: string): (object: HeldObject) => boolean {
  const keys = new Set<string>();
  const unreadable: string[] = [];
  for (const [id, answer] of checkpoints) {
    if (answer.kind !== 'found') unreadable.push(id);
    else for (const { key } of [answer.manifest.index, ...answer.manifest.packs]) keys.add(prefix + key);
  }
  return ({ key, checkpoint }) => keys.has(key) || unreadable.some((id) => checkpoint <= id);
}
