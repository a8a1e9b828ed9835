/** What every run of this worker shares. */
import type { Redis } from 'ioredis';
import type { LimitFunction } from 'p-limit';
import type { Logger } from 'pino';
import type { Signatures } from '../freezer/encryption/signature.ts';
import type { CheckpointPlace, Runtime } from '../freezer/runtime.ts';
import { storeKeys } from '../jobs/index.ts';
import type { Store } from '../store/store.ts';
import type { DiskWatch } from './diskWatch.ts';
import type { LeaseTerms } from './lease.ts';
import type { LogRoom } from './logRoom.ts';
import type { FreezeRate } from './triage.ts';

export interface WorkerContext {
  readonly worker: string;
  /** Waits for Redis when it is away. */
  readonly redis: Redis;
  /** What logs may take of it. */
  readonly logRoom: LogRoom;
  readonly store: Store;
  /** Opens the same store; for the engine, which is a process of its own. */
  readonly storeUrl: string;
  /** Master keys of checkpoints, as in a `CheckpointPlace`. */
  readonly encryptionKeys: readonly string[];
  /** Folder of jobs' secrets, see operatorSecrets.ts; null for none. */
  readonly secretsDirectory: string | null;
  /** Of what it writes to the store and what it believes of that. */
  readonly signatures: Signatures;
  readonly runtime: Runtime;
  readonly disk: DiskWatch;
  readonly cpuFeatures: readonly string[];
  readonly leaseTerms: LeaseTerms;
  /** Freezes share the machine's cores and network: only so many at once. */
  readonly freezes: LimitFunction;
  readonly freezeRate: FreezeRate;
  /** As in `FreezeOptions`. */
  readonly bufferBytes: number | undefined;
  /** As in `FolderOptions` of the store. */
  readonly toolboxDirectory: string | undefined;
  /** As `Intake.stepAside`. */
  readonly stepAside: () => boolean;
  readonly logger: Logger;
}

/** Where a job's checkpoints are, and what opens them. */
export function checkpointPlace(context: WorkerContext, jobId: string): CheckpointPlace {
  const { storeUrl, encryptionKeys } = context;
  return { storeUrl, encryptionKeys, prefix: storeKeys.checkpoints(jobId) };
}
