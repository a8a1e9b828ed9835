/** The checkpoints of a job, as people want to know them. */
import { type Holdings, readHoldings, summariesOf } from '../freezer/checkpoint/retention.ts';
import { storeKeys } from '../jobs/names.ts';
import type { Store } from '../store/store.ts';
import { candidatesFor } from '../workers/candidates.ts';
import { readFences } from '../workers/fence.ts';

const NEXT_EPOCH = 99_999_999;

/**
 * `current`: what the next run would thaw first; `kept`: what it would fall back to; `unused`: nothing reads it any more;
 * `unreadable`: `problem` tells why.
 */
export interface ListedCheckpoint {
  readonly id: string;
  readonly state: 'current' | 'kept' | 'unused' | 'unreadable';
  readonly problem: string | null;
  /** ms since 1970; null, as all that follows, when its manifest cannot be read. */
  readonly frozenAt: number | null;
  readonly memoryBytes: number | null;
  readonly fileBytes: number | null;
  readonly sentBytes: number | null;
  /** Of all packs that it needs, those of earlier checkpoints too, and its index. */
  readonly storedBytes: number | null;
  readonly base: string | null;
  readonly isEncrypted: boolean | null;
}

/** Newest first. Rejects with `StoreError` or `FreezerError` `storeFailed`. */
export async function listJobCheckpoints(store: Store, jobId: string): Promise<ListedCheckpoint[]> {
  const holdings = await readHoldings(store, storeKeys.checkpoints(jobId));
  const fences = await readFences(store, jobId, NEXT_EPOCH);
  const history = candidatesFor(NEXT_EPOCH, fences, summariesOf(holdings)).map(({ id }) => id);
  return [...holdings.answers.keys()].reverse().map((id) => describe(id, holdings, history));
}

function describe(id: string, { answers }: Holdings, history: readonly string[]): ListedCheckpoint {
  const answer = answers.get(id);
  if (answer?.kind !== 'found') {
    const problem =
      answer?.kind === 'wrongVersion'
        ? `of version ${answer.version}`
        : answer?.kind === 'corrupt'
          ? answer.reason
          : 'gone';
    return { ...UNREADABLE, id, problem };
  }
  const { frozenAt, memoryBytes, fileBytes, sentBytes, base, encryption, packs, index } = answer.manifest;
  const storedBytes = packs.reduce((sum, { sizeBytes }) => sum + sizeBytes, index.sizeBytes);
  const at = history.indexOf(id);
  const state = at === 0 ? 'current' : at > 0 ? 'kept' : 'unused';
  const sizes = { memoryBytes, fileBytes, sentBytes, storedBytes };
  return { id, state, problem: null, frozenAt, ...sizes, base, isEncrypted: encryption !== null };
}

const UNREADABLE = {
  state: 'unreadable',
  frozenAt: null,
  memoryBytes: null,
  fileBytes: null,
  sentBytes: null,
  storedBytes: null,
  base: null,
  isEncrypted: null,
} as const;
