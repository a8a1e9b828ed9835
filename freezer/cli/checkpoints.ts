/** The checkpoints of one program in one store: which there are, which count, which are removed. */
import type { Store } from '../../store/store.ts';
import { checkpointIds } from '../checkpoint/catalogue.ts';
import { carryOut, epochOf, keepOnlyAndSweep, planRemoval, readHoldings } from '../checkpoint/retention.ts';
import type { Claim } from './claims.ts';

/** Below the store's URL. */
export const PREFIX = 'checkpoints/';
const KEPT = 2;

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
 * while this start writes nothing. Rejects when the store fails; nothing that is needed is removed then.
 */
export async function prune(store: Store, epoch: number, ordered: readonly string[]): Promise<void> {
  const rule = keepOnlyAndSweep(ordered.slice(0, KEPT), epoch);
  await carryOut(store, planRemoval(await readHoldings(store, PREFIX), rule));
}

/** Removes what start `epoch` and those before it wrote. */
export async function removeAll(store: Store, epoch: number): Promise<void> {
  await prune(store, epoch, []);
}
