/**
 * Who may continue the program: `starts/<epoch>` in the store, one create-only object for every `freezer start`, there
 * before the program moves, and one for the program's own end.
 *
 * A claim says "start N exists, and continues from these checkpoints". Only the newest claim counts: what may be thawed are
 * the checkpoints of its own epoch and those that it names. So whatever an older start still writes, whose machine was
 * thought to be gone, is never read. The claim of an ended program names none, so that the next start begins anew even
 * where the checkpoints could not be removed.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type Store, StoreError } from '../../store/store.ts';
import { CheckpointId } from '../checkpoint/format.ts';

const Claim = z.strictObject({
  version: z.literal(1),
  epoch: z.int().min(1).max(99_999_999),
  kind: z.enum(['start', 'end']),
  /** Tells it from another start's claim of the same epoch. */
  nonce: z.string(),
  host: z.string(),
  /** ms since 1970. */
  at: z.int(),
  /** Checkpoints that it continues from, the one to try first first. */
  continues: z.array(CheckpointId),
});
export type Claim = z.output<typeof Claim>;

const FOLDER = 'starts/';
const key = (epoch: number) => `${FOLDER}${String(epoch).padStart(8, '0')}`;

/** Null when there never was a start. Rejects with `StoreError`; `damaged` for what is no claim of this version. */
export async function newestClaim(store: Store): Promise<Claim | null> {
  const keys = (await Array.fromAsync(store.list(FOLDER))).map((object) => object.key);
  const newest = keys.at(-1);
  return newest === undefined ? null : parse(newest, await store.get(newest));
}

/** False when another start has this epoch already. Rejects with `StoreError`. */
export async function createClaim(store: Store, claim: Claim): Promise<boolean> {
  try {
    await store.create(key(claim.epoch), Buffer.from(JSON.stringify(claim)));
    return true;
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'exists')) throw error;
    // A create whose answer was lost is repeated by the driver: then the object that exists is this one.
    return isDeepStrictEqual(parse(key(claim.epoch), await store.get(key(claim.epoch))), claim);
  }
}

/** The claim that came after this one; epochs are taken one by one. Rejects with `StoreError`. */
export async function claimAfter(store: Store, { epoch }: Claim): Promise<Claim | null> {
  try {
    return parse(key(epoch + 1), await store.get(key(epoch + 1)));
  } catch (error) {
    if (error instanceof StoreError && error.code === 'notFound') return null;
    throw error;
  }
}

/** Removes the claims before this one, which nobody asks for any more. */
export async function forgetClaimsBefore(store: Store, { epoch }: Claim): Promise<void> {
  const keys = (await Array.fromAsync(store.list(FOLDER))).map((object) => object.key);
  await store.delete(keys.filter((each) => each < key(epoch)));
}

/** To guess at an unreadable claim would be to lose the work behind it, or to have two histories. */
function parse(at: string, bytes: Buffer): Claim {
  try {
    return Claim.parse(JSON.parse(bytes.toString()));
  } catch (cause) {
    const remedy = 'Use the version of freezer that wrote it; to give the work up, empty the store.';
    throw new StoreError('damaged', `${at} is no record of a start of this version.`, remedy, { cause });
  }
}
