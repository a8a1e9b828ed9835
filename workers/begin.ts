/**
 * Brings a claimed job to life: thawed from the best checkpoint that can be, or started from the beginning.
 *
 * What fails decides what happens:
 *   - the checkpoint is at fault (gone, corrupt, another's, of another version, CRIU refuses it): it is passed over, the one before is
 *     tried, but with a key only as far as rollback.ts allows; after the last one the job's policy says whether it starts afresh or fails;
 *   - this machine or the store is at fault (unreachable, full disk, no engine, no GPU, …): `later`, on whatever worker;
 *   - a secret that it wants is not here: `later`, before anything else is done;
 *   - the job is at fault (its input is not there or not what was submitted, nobody has its image): `never`, it fails.
 */
import {
  type CheckpointSummary,
  FreezerError,
  type FreezerErrorCode,
  type Program,
  type Run,
  type ThawMode,
} from '../freezer/index.ts';
import type { JobData } from '../jobs/index.ts';
import { getFolder } from '../store/folder.ts';
import { StoreError, type StoreErrorCode } from '../store/store.ts';
import type { History } from './claim.ts';
import { checkpointPlace, type WorkerContext } from './context.ts';
import { JobSecrets } from './jobSecrets.ts';
import type { Lease } from './lease.ts';
import type { Ledger, PassedOver } from './ledger.ts';
import type { QueuedJob } from './queuedJob.ts';
import { ROLLED_BACK } from './rollback.ts';

export interface Begun {
  readonly kind: 'begun';
  readonly run: Run;
  /** Null when it began from the beginning. */
  readonly thaw: { checkpoint: CheckpointSummary; tookMs: number } | null;
  readonly passedOver: readonly PassedOver[];
  /** Null for a job without any. */
  readonly secrets: JobSecrets | null;
}

/** What was passed over before `later` is passed over again then. */
export type Beginning =
  | Begun
  | { kind: 'later'; error: Error }
  | { kind: 'never'; code: string; message: string; passedOver: readonly PassedOver[] };

interface Order {
  readonly context: WorkerContext;
  readonly queued: QueuedJob;
  readonly lease: Lease;
  readonly ledger: Ledger;
  readonly data: JobData;
  readonly history: History;
  /** Digest of the image that an earlier run had. */
  readonly pinnedImage: string | null;
  /** Its checkpoints are known to be. */
  readonly isEncrypted: boolean;
  /** Aborts when the job is not to begin any more; `begin` then rejects with its reason. */
  readonly signal: AbortSignal;
}

export async function begin(order: Order): Promise<Beginning> {
  const { context, queued, data, signal } = order;
  const refusal = context.disk.refusal(data.spec.resources.diskBytes);
  if (refusal) return { kind: 'later', error: refusal };
  let secrets: JobSecrets | null;
  try {
    const of = { pool: queued.pool, jobId: queued.id, spec: data.spec };
    const { secretsDirectory: directory, logger } = context;
    secrets = await JobSecrets.open({ ...of, directory, logger, signal });
  } catch (error) {
    return neverOrLater(judge(error, signal, JOB_AT_FAULT), []);
  }
  return await beginWith(order, secrets);
}

async function beginWith(order: Order, secrets: JobSecrets | null): Promise<Beginning> {
  const { ledger, history, data } = order;
  const passedOver = unusableFrom(history);
  const isGuarded = history.newestKnown !== null;
  let isRolledBack = history.rolledBack !== null || (isGuarded && history.missing !== null);
  if (history.candidates.length > 0) await ledger.beginning('thawing');
  for (const checkpoint of history.candidates) {
    if (isRolledBack && checkpoint.id < (history.newestKnown ?? '')) {
      passedOver.push(olderThanKnown(checkpoint.id, history.newestKnown));
      break;
    }
    try {
      return { ...(await thaw(order, checkpoint, secrets)), passedOver };
    } catch (error) {
      const failure = judge(error, order.signal, CHECKPOINT_AT_FAULT);
      if (failure.kind !== 'never') return failure;
      passedOver.push({
        checkpoint: checkpoint.id,
        message: `${checkpoint.id}: ${failure.message} (${failure.code})`,
      });
      // Whatever else is wrong with it, it was not proven to be the one that was taken.
      if (checkpoint.id === history.newestKnown && failure.code !== 'restoreFailed') isRolledBack = true;
    }
  }
  if (passedOver.length > 0 && data.spec.checkpoint.ifUnusable === 'fail') {
    return {
      kind: 'never',
      code: isRolledBack ? ROLLED_BACK : 'checkpointUnusable',
      message: `No checkpoint can be thawed: ${passedOver.map(({ message }) => message).join(' ')}`,
      passedOver,
    };
  }
  await ledger.beginning('running');
  try {
    return { ...(await start(order, secrets)), passedOver };
  } catch (error) {
    const failure = judge(
      error,
      order.signal,
      order.pinnedImage === null ? [...JOB_AT_FAULT, 'imageNotFound'] : JOB_AT_FAULT,
    );
    return neverOrLater(failure, passedOver);
  }
}

function unusableFrom({ missing, newestKnown, rolledBack }: History): PassedOver[] {
  const code = newestKnown === null ? '' : ` (${ROLLED_BACK})`;
  const gone = { checkpoint: missing ?? '', message: `${missing} is gone or cannot be read.${code}` };
  const older = { checkpoint: newestKnown ?? '', message: `${rolledBack} (${ROLLED_BACK})` };
  return [...(rolledBack === null ? [] : [older]), ...(missing === null ? [] : [gone])];
}

function olderThanKnown(id: string, newest: string | null): PassedOver {
  return { checkpoint: id, message: `${id} is older than ${newest}, and is not taken in its place. (${ROLLED_BACK})` };
}

function neverOrLater(failure: Failure, passedOver: readonly PassedOver[]): Beginning {
  if (failure.kind === 'later') return failure;
  return { kind: 'never', code: failure.code, message: `${failure.message} ${failure.remedy}`, passedOver };
}

type Unpassed = Omit<Begun, 'passedOver'>;

async function thaw(order: Order, checkpoint: CheckpointSummary, secrets: JobSecrets | null): Promise<Unpassed> {
  const { context, queued, ledger } = order;
  const beganAt = performance.now();
  const run = await context.runtime.thaw({
    ...commonOptions(order, secrets),
    place: checkpointPlace(context, queued.id),
    checkpointId: checkpoint.id,
    known: { isEncrypted: order.isEncrypted, image: order.pinnedImage },
    mode: thawMode(order, checkpoint),
    onProgress: (progress) => ledger.report(progress),
  });
  return { kind: 'begun', run, thaw: { checkpoint, tookMs: performance.now() - beganAt }, secrets };
}

/**
 * Once lazily, and then eagerly: a run that was lost because the memory of its checkpoint did not verify must not begin from it again,
 * and a thaw that verifies everything first passes it over.
 */
function thawMode({ queued, data }: Order, checkpoint: CheckpointSummary): ThawMode {
  const isOfLastRun = checkpoint.epoch === queued.epoch - 1;
  return isOfLastRun ? data.spec.checkpoint.thaw : 'eager';
}

async function start(order: Order, secrets: JobSecrets | null): Promise<Unpassed> {
  const { context, ledger } = order;
  const { input, spec } = order.data;
  const { bytes, files: entries } = context.disk.limitsFor(spec.resources.diskBytes);
  const { program, ...common } = commonOptions(order, secrets);
  const run = await context.runtime.start({
    ...common,
    program: { ...program, env: { ...program.env, ...secrets?.env } },
    prepareWorkspace: async (directory) => {
      if (input === null) return;
      ledger.report({ step: 'fetching input', doneBytes: 0, totalBytes: input.sizeBytes });
      await withinDisk(order, directory, (whileItFits) =>
        getFolder(context.store, input.key, directory, {
          signal: whileItFits,
          toolboxDirectory: context.toolboxDirectory,
          limits: { bytes, entries },
          expected: input.sha256 === undefined ? undefined : { sizeBytes: input.sizeBytes, sha256: input.sha256 },
        }),
      );
    },
  });
  return { kind: 'begun', run, thaw: null, secrets };
}

/** A small archive may hold more than the job may have, or the disk. Rejects with `unsupported` then, or with `diskFull`. */
async function withinDisk(
  { context, queued, data, signal }: Order,
  directory: string,
  work: (whileItFits: AbortSignal) => Promise<void>,
): Promise<void> {
  const tooLarge = new AbortController();
  using _ = context.disk.watch({
    ...{ jobId: queued.id, directory, diskBytes: data.spec.resources.diskBytes },
    onExceeded: ({ kind, message }) => {
      const code = kind === 'low' ? 'diskFull' : 'unsupported';
      tooLarge.abort(
        new FreezerError(code, `Its input does not fit. ${message}`, 'Submit it with a smaller workspace.'),
      );
    },
  });
  try {
    await work(AbortSignal.any([signal, tooLarge.signal]));
  } finally {
    tooLarge.signal.throwIfAborted();
  }
}

function commonOptions({ queued, data, lease, signal, pinnedImage }: Order, secrets: JobSecrets | null) {
  const { command, env, user, directory, volumes, network, resources } = data.spec;
  const image = pinnedImage ?? data.spec.image;
  const program: Program = {
    ...{ command, env, volumes, network, resources },
    ...(image === undefined ? {} : { image }),
    ...(user === undefined ? {} : { user }),
    ...(directory === undefined ? {} : { directory }),
  };
  const attachLease = lease.attach.bind(lease);
  const prepareSecrets = secrets ? { prepareSecrets: secrets.prepare } : {};
  return { jobId: queued.id, epoch: queued.epoch, program, attachLease, signal, ...prepareSecrets };
}

const CHECKPOINT_AT_FAULT: (FreezerErrorCode | StoreErrorCode)[] = [
  'notFound',
  'corrupt',
  'damaged',
  'wrongVersion',
  'substituted',
  'restoreFailed',
];
/** And `imageNotFound`, unless an earlier run had the image: then it is somewhere, and only this worker cannot have it now. */
const JOB_AT_FAULT: (FreezerErrorCode | StoreErrorCode)[] = [
  'notFound',
  'damaged',
  'substituted',
  'tooLarge',
  'invalid',
  'unsupported',
];

type Failure = { kind: 'later'; error: Error } | { kind: 'never'; code: string; message: string; remedy: string };

/** `never` when the error's own code is in the list, or that of the error behind it. Throws what is no failure. */
function judge(error: unknown, signal: AbortSignal, atFault: (FreezerErrorCode | StoreErrorCode)[]): Failure {
  signal.throwIfAborted();
  const cause = error instanceof FreezerError && error.cause instanceof StoreError ? error.cause : error;
  if (!(cause instanceof FreezerError || cause instanceof StoreError)) throw error;
  if (!atFault.includes(cause.code)) return { kind: 'later', error: cause };
  return { kind: 'never', code: cause.code, message: cause.message, remedy: cause.remedy };
}
