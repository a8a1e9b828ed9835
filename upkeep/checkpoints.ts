/** The checkpoints of a job, as people want to know them. */
import { authenticate } from '../freezer/checkpoint/openCheckpoint.ts';
import { type Holdings, readHoldings, summariesOf } from '../freezer/checkpoint/retention.ts';
import { KeyRing } from '../freezer/encryption/keyRing.ts';
import { FreezerError } from '../freezer/errors.ts';
import { storeKeys } from '../jobs/names.ts';
import type { Store } from '../store/store.ts';
import { candidatesFor } from '../workers/candidates.ts';
import { listFences, oldestEpoch, readFences } from '../workers/fence.ts';
import { ROLLED_BACK } from '../workers/rollback.ts';

const NEXT_EPOCH = 99_999_999;

/**
 * `current`: what the next run would thaw first; `kept`: what it would fall back to; `unused`: nothing reads it any more;
 * `unreadable`: `problem` tells why; it may be there, and not be the one that was taken. `missing`: Redis knows it as the newest, and the
 * store does not have it.
 */
export interface ListedCheckpoint {
  readonly id: string;
  readonly state: 'current' | 'kept' | 'unused' | 'unreadable' | 'missing';
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

/** What is known of the job from elsewhere than the store. */
export interface KnownCheckpoints {
  /** The newest that Redis knows. */
  readonly newest: string | null;
  readonly isEncrypted: boolean;
  /** As in `CheckpointPlace`. Without any, nothing is authenticated. */
  readonly encryptionKeys: readonly string[];
}

/** Newest first. Rejects with `StoreError` or `FreezerError` `storeFailed`. */
export async function listJobCheckpoints(
  store: Store,
  jobId: string,
  known: KnownCheckpoints,
): Promise<ListedCheckpoint[]> {
  const holdings = await readHoldings(store, storeKeys.checkpoints(jobId));
  const checkpoints = summariesOf(holdings);
  const listed = await listFences(store, jobId, NEXT_EPOCH);
  const fences = await readFences(store, jobId, { listed, since: oldestEpoch(checkpoints) });
  const history = candidatesFor(NEXT_EPOCH, fences, checkpoints).map(({ id }) => id);
  const problems = await problemsOf(holdings, store, known);
  const described = [...holdings.answers.keys()].map((id) => describe(id, holdings, history, problems));
  const { newest } = known;
  if (newest !== null && !holdings.answers.has(newest)) {
    const problem = `Redis knows it as the newest, and it is gone (${ROLLED_BACK})`;
    described.push({ ...UNREADABLE, id: newest, state: 'missing', problem });
  }
  return described.sort((a, b) => (a.id < b.id ? 1 : -1));
}

/** Why checkpoints that can be read are not to be believed, by their ids. */
async function problemsOf(
  { answers, prefix }: Holdings,
  store: Store,
  { encryptionKeys, isEncrypted }: KnownCheckpoints,
): Promise<ReadonlyMap<string, string>> {
  const keyRing = KeyRing.of(encryptionKeys);
  const problems = new Map<string, string>();
  for (const [id, answer] of answers) {
    // What is encrypted with a key that is not here is not this machine's to judge.
    if (answer.kind !== 'found' || (answer.manifest.encryption !== null && keyRing.current === null)) continue;
    try {
      await authenticate(answer.manifest, { store, prefix, keyRing, known: { isEncrypted } });
    } catch (error) {
      if (!(error instanceof FreezerError)) throw error;
      // A key that is not here, or a KMS that does not answer, says nothing of the checkpoint.
      if (answer.manifest.encryption !== null && ['wrongKey', 'failed'].includes(error.code)) continue;
      problems.set(id, `${error.message.replace(/\.$/, '')} (${error.code})`);
    }
  }
  return problems;
}

function describe(
  id: string,
  { answers }: Holdings,
  history: readonly string[],
  problems: ReadonlyMap<string, string>,
): ListedCheckpoint {
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
  const problem = problems.get(id) ?? null;
  const state = problem !== null ? 'unreadable' : at === 0 ? 'current' : at > 0 ? 'kept' : 'unused';
  const sizes = { memoryBytes, fileBytes, sentBytes, storedBytes };
  return { id, state, problem, frozenAt, ...sizes, base, isEncrypted: encryption !== null };
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
