/**
 * Fences: `fence/<epoch>` in the store, one create-only object for every run, there before its program moves.
 *
 * A fence divides what counts from what does not. It says "run N exists, and its history continues from checkpoint C".
 * From then on nothing that an older run still writes can be read by a newer one: see `candidates.ts` for how restore
 * walks the fences. The fence is created before the thaw, so it names the checkpoint that will be tried first. When that
 * one fails and the run falls back to an older one, the name stays, and that is safe: whoever reads this fence later
 * sees the run's own checkpoints, then C, then what C's history says, and all of them were committed by the
 * run that owned the job at that time. A fence never makes a stale checkpoint readable, which is all that it is for.
 *
 * The epoch comes from Redis. Should Redis lose data and count again from a lower number, the create fails with
 * `exists`, and the job goes back to the queue until its epoch is new.
 *
 * With a key fences are signed (freezer/encryption/signature.ts). One that is not authentic counts as one that is not there, so to
 * forge a fence does what to remove one does; rollback.ts says what follows from that.
 */
import { z } from 'zod';
import { MOST_CONTAINERS, type Signatures } from '../freezer/encryption/signature.ts';
import { padEpoch, storeKeys } from '../jobs/index.ts';
import { parseBounded } from '../store/boundedJson.ts';
import { readAtMost } from '../store/readAtMost.ts';
import { type Store, StoreError } from '../store/store.ts';

const MOST_FENCE_BYTES = 64 * 1024;

export const Fence = z.strictObject({
  version: z.literal(1),
  epoch: z.int(),
  worker: z.string(),
  /** The checkpoint that the run was going to thaw; null for a start from the beginning. */
  thawsFrom: z.string().nullable(),
  /** ms since 1970. */
  at: z.int(),
});
export type Fence = z.output<typeof Fence>;

/**
 * False when another run has this epoch already. Rejects with `StoreError` when the store fails, and as `Signatures.sign`.
 * @param signatures absent: it is not signed
 */
export async function createFence(
  store: Store,
  jobId: string,
  fence: Fence,
  signatures?: Signatures,
): Promise<boolean> {
  const key = storeKeys.fence(jobId, fence.epoch);
  const bytes = signatures ? await signatures.sign(key, fence) : Buffer.from(JSON.stringify(fence));
  try {
    await store.create(key, bytes);
    return true;
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'exists')) throw error;
    // A create whose answer was lost is repeated by the driver: then the object that exists is this one.
    return bytes.equals(await readAtMost(store, key, MOST_FENCE_BYTES));
  }
}

/** The epochs of the runs before `epoch` that are fenced, newest first. Rejects with `StoreError`. */
export async function listFences(store: Store, jobId: string, epoch: number): Promise<number[]> {
  const epochs: number[] = [];
  for await (const { key } of store.list(storeKeys.fences(jobId))) {
    const fenced = epochOfFence(jobId, key);
    if (fenced !== null && fenced < epoch) epochs.push(fenced);
  }
  return epochs.sort((a, b) => b - a);
}

/** Which fences are read. A job may have moved ten thousand times. */
export interface FenceRange {
  /** As `listFences` gives them. */
  readonly listed: readonly number[];
  /** The epoch of the oldest checkpoint that there is. The history before it does not matter. */
  readonly since: number;
}

/**
 * The fences that make the history which counts, newest first, whoever wrote them: to list and to tidy up, not to choose what
 * runs. Rejects with `StoreError`; `damaged` for what is no fence.
 */
export async function readFences(store: Store, jobId: string, range: FenceRange): Promise<Fence[]> {
  return await walkHistory(range, async (epoch) => {
    const key = storeKeys.fence(jobId, epoch);
    const { signature: _, ...content } = parseJson(key, await readAtMost(store, key, MOST_FENCE_BYTES));
    return parseFence(key, content);
  });
}

export interface FenceTrust {
  readonly signatures: Signatures;
  /** Whether the fence of a run need not be signed: it is from before fences were. */
  readonly mayBeUnsigned: (epoch: number) => boolean;
  /** A run whose fence is read in any case; null for none. */
  readonly lastRun: number | null;
}

export interface TrustedFences {
  /** Newest first. */
  readonly fences: Fence[];
  /** Why others do not count, by their epochs. */
  readonly refused: ReadonlyMap<number, string>;
}

/** As `readFences`, those that choose what runs. Without a key they are all believed. Rejects as `Signatures.read` as well. */
export async function readTrustedFences(
  store: Store,
  jobId: string,
  range: FenceRange,
  trust: FenceTrust,
): Promise<TrustedFences> {
  const { signatures, lastRun } = trust;
  const refused = new Map<number, string>();
  if (!signatures.areWanted) return { fences: await readFences(store, jobId, range), refused };
  const read = async (epoch: number): Promise<Fence | null> => {
    const key = storeKeys.fence(jobId, epoch);
    const bytes = await readAtMost(store, key, MOST_FENCE_BYTES).catch(unlessDamaged);
    const reading = bytes && (await signatures.read(key, bytes));
    if (reading?.kind === 'signed') return parseFence(key, reading.content);
    if (reading?.kind === 'unsigned' && trust.mayBeUnsigned(epoch)) return parseFence(key, reading.content);
    refused.set(epoch, reading?.kind === 'forged' ? reading.reason : reading ? 'it is not signed' : 'it is too large');
    return null;
  };
  const fences = await walkHistory(range, read);
  const isMissing = lastRun !== null && range.listed.includes(lastRun) && !refused.has(lastRun);
  if (isMissing && !fences.some(({ epoch }) => epoch === lastRun)) {
    const fence = await read(lastRun);
    if (fence) fences.push(fence);
  }
  return { fences: fences.sort((a, b) => b.epoch - a.epoch), refused };
}

/**
 * The newest fence that counts, then that of the run whose checkpoint it names, and so on. `read` gives null for one that does not
 * count: the newest of the others is the first then.
 */
async function walkHistory(
  { listed, since }: FenceRange,
  read: (epoch: number) => Promise<Fence | null>,
): Promise<Fence[]> {
  const known = new Set(listed);
  for (const newest of listed) {
    const fences: Fence[] = [];
    let at = newest;
    while (known.has(at)) {
      const fence = await read(at);
      if (fence === null) break;
      fences.push(fence);
      const before = fence.thawsFrom === null ? 0 : epochOfCheckpoint(fence.thawsFrom);
      at = before < at && before >= since ? before : 0; // history only goes back; anything else is damage
    }
    if (fences.length > 0) return fences;
  }
  return [];
}

/** The epoch of the oldest of these; that after every run where there are none. */
export function oldestEpoch(checkpoints: readonly { readonly epoch: number }[]): number {
  return checkpoints.reduce((oldest, { epoch }) => Math.min(oldest, epoch), Number.POSITIVE_INFINITY);
}

/** Null for a name that no run gave: whoever can write to the store could have any number of them looked at. */
function epochOfFence(jobId: string, key: string): number | null {
  const epoch = Number(key.slice(storeKeys.fences(jobId).length));
  return Number.isSafeInteger(epoch) && epoch > 0 && key === storeKeys.fence(jobId, epoch) ? epoch : null;
}

function unlessDamaged(error: unknown): null {
  if (error instanceof StoreError && error.code === 'damaged') return null;
  throw error;
}

/** The newest run that there is, by its fence; 0 before the first. Rejects with `StoreError`. */
export async function newestEpoch(store: Store, jobId: string): Promise<number> {
  let newest = 0;
  for await (const { key } of store.list(storeKeys.fences(jobId))) newest = epochOfFence(jobId, key) ?? newest;
  return newest;
}

/** The epoch in a checkpoint id, `<epoch>-<sequence>`. */
export function epochOfCheckpoint(id: string): number {
  return Number.parseInt(id.slice(0, padEpoch(0).length), 10);
}

/** Guessing at an unreadable fence would mean to lose the work behind it, or to have two histories. */
function parseFence(key: string, content: unknown): Fence {
  const parsed = Fence.safeParse(content);
  if (parsed.success && key.endsWith(`/${padEpoch(parsed.data.epoch)}`)) return parsed.data;
  throw noFence(key, parsed.error);
}

function parseJson(key: string, bytes: Buffer): Record<string, unknown> {
  try {
    return z.looseObject({}).parse(parseBounded(bytes, MOST_CONTAINERS));
  } catch (cause) {
    throw noFence(key, cause);
  }
}

function noFence(key: string, cause: unknown): StoreError {
  const remedy = 'Update this worker, or cancel the job.';
  return new StoreError('damaged', `${key} is no fence of this version.`, remedy, { cause });
}
