/**
 * What a runtime does for its caller: start a program in a container, freeze it into a store, thaw it from there.
 * One contract for every runtime.
 */

/**
 * How a program ended: by itself, by a signal, or with its container, whose reason is then given. The first two have a
 * reason, one sentence, where the program went beyond its own limit of memory. `cannotStart`: why the program never ran, where no other
 * try could go better: it is not there, or is no program.
 */
export type ProgramEnd =
  | { kind: 'exited'; code: number; reason?: string; cannotStart?: string }
  | { kind: 'killed'; signal: number; reason?: string }
  | { kind: 'lost'; reason: string };

/** What a runtime does not have, it refuses with `FreezerError` `unsupported` or `notHere`: nothing of this is ever left out silently. */
export interface Program {
  /** Empty for what the image itself says. */
  readonly command: readonly string[];
  /** Added to PATH, HOME, LANG, and what the image or the runtime itself sets. */
  readonly env: Readonly<Record<string, string>>;
  readonly image?: string;
  /** `user[:group]`, names or numbers as the image knows them. Default the image's. */
  readonly user?: string;
  /** Default `/workspace`; with an empty command the image's. */
  readonly directory?: string;
  /** Folders that move with the job, beside the workspace. They begin with what is there. */
  readonly volumes?: readonly string[];
  readonly network?: 'default' | 'none';
  /** Limits; a job without them takes what the machine has. */
  readonly resources?: {
    readonly cpus?: number | undefined;
    readonly memoryBytes?: number | undefined;
    /** Processes and threads at a time. Default `DEFAULT_PROCESSES`. */
    readonly processes?: number | undefined;
    /** No runtime keeps a job within this; its caller may, by what the run's `files` have. */
    readonly diskBytes?: number | undefined;
    readonly gpus?: number | undefined;
  };
}

/** Where a job's checkpoints are: a store's URL and the prefix inside it that belongs to the job. */
export interface CheckpointPlace {
  readonly storeUrl: string;
  /** Ends with `/`. */
  readonly prefix: string;
  /** The program's, where the prefix does not tell whose checkpoints these are: see encryption/home.ts. */
  readonly name?: string | undefined;
  /** Master keys as texts, see encryption/keyRing.ts; the first is current. Absent: what is written is not encrypted. */
  readonly encryptionKeys?: readonly string[] | undefined;
}

/** A committed checkpoint. Ids are `<epoch>-<sequence>`, padded: their order is the order in which they were taken. */
export interface CheckpointSummary {
  readonly id: string;
  readonly epoch: number;
  /** When the program was stopped for it, ms since 1970. */
  readonly frozenAt: number;
  readonly memoryBytes: number;
  readonly fileBytes: number;
  /** What this checkpoint sent to the store. */
  readonly sentBytes: number;
  readonly logSizes: { readonly stdout: number; readonly stderr: number };
  /** CPU features that a machine needs to thaw it. */
  readonly cpuFeatures: readonly string[];
  readonly isEncrypted: boolean;
}

/** What is known of a job from elsewhere than the store, whose writers are not trusted: a checkpoint that is otherwise is not the job's. */
export interface KnownOfJob {
  /** Its checkpoints are. */
  readonly isEncrypted?: boolean | undefined;
  /** The digest of its image; null where it is not known. */
  readonly image?: string | null | undefined;
}

/** A step of a freeze or thaw under way. Bytes are of the job's own data, before compression. */
export interface StepProgress {
  readonly step: 'dumping' | 'saving files' | 'sending' | 'fetching' | 'restoring' | 'filling';
  readonly doneBytes: number;
  /** Null where it cannot be known beforehand. */
  readonly totalBytes: number | null;
}

/** `lazy`: the program starts at once, and its memory comes as it is touched. `auto`: that for large memory which one process has. */
export type ThawMode = 'auto' | 'eager' | 'lazy';

export interface FreezeOptions {
  readonly place: CheckpointPlace;
  /** The fencing epoch of the run; part of every key that is written. */
  readonly epoch: number;
  /** `stop`: the program is killed once the checkpoint is committed. `continue`: it goes on as soon as it has been read. */
  readonly afterwards: 'stop' | 'continue';
  /** Most of the job's content that waits in this machine's memory to be compressed. More shortens the standstill. Default 64 MiB. */
  readonly bufferBytes?: number | undefined;
  /** Gives up, and lets the program run on, when the engine that is asked for something reports nothing for so long. Default 10 minutes. */
  readonly stallTimeoutMs?: number | undefined;
  /** Aborting before the commit lets the program run on, and leaves no checkpoint. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: StepProgress) => void;
}

export interface Frozen {
  readonly checkpoint: CheckpointSummary;
  /** How long the program stood still; for `stop`, until the commit. */
  readonly frozenMs: number;
}

/** A program in its container. Disposing kills the container and removes its folder. */
export interface Run extends AsyncDisposable {
  /** Host path of the job's workspace. */
  readonly workspace: string;
  /** Host path of everything that it has on this machine's disk and that moves with it; the workspace and the logs are in there. */
  readonly files: string;
  /** What its container has written beside that, on the engine's disk. Absent where there is nothing else. */
  layerSizeBytes?(signal?: AbortSignal): Promise<number>;
  /** What files have on the disk that its processes have open and that have lost their name. Rejects when the container is gone. */
  unlinkedBytes(): Promise<number>;
  /** Host paths of the log files; they only grow. */
  readonly logs: { readonly stdout: string; readonly stderr: string };
  /** Sizes of the logs when the run began. */
  readonly logStart: { readonly stdout: number; readonly stderr: number };
  /** The digest that its image was found to have, for `Program.image` of its next run; null without an image. */
  readonly image: string | null;
  /** Resolves, once, when the program has ended; never rejects. A freeze with `stop` is an end of kind `lost` ("frozen"). */
  readonly ended: Promise<ProgramEnd>;
  /**
   * Takes a checkpoint. Rejects with `FreezerError` when none was committed: the program then runs on (or has ended), and
   * earlier checkpoints still stand.
   */
  freeze(options: FreezeOptions): Promise<Frozen>;
  /**
   * Looks whether the program holds what cannot be frozen, without stopping it. Rejects with `FreezerError` `cannotFreeze` that names it
   * and says what to do. What cannot be seen from outside is found by a freeze only.
   */
  preflight(): Promise<void>;
  /** SIGKILLs the program and everything in its container; resolves when it is gone. */
  kill(): Promise<void>;
  /** Sends a signal (a number) to the program, for a polite end. */
  signal(signal: number): void;
}

export type RenewLease = (validForMs: number) => void;

export interface StartOptions {
  readonly jobId: string;
  readonly epoch: number;
  readonly program: Program;
  /** Fills the empty workspace before the program starts. */
  readonly prepareWorkspace?: (directory: string) => Promise<void>;
  /**
   * Fills the folder that the job has, read-only, at `/run/secrets`: in memory, and never part of a checkpoint. Called before the
   * program starts or is restored; the folder is removed with the run. Absent: the job has no such folder. `notHere` is thrown where
   * this machine would keep the folder on a disk, `unsupported` where the job has a volume at that place.
   */
  readonly prepareSecrets?: (directory: string) => Promise<void>;
  /**
   * Called once, as soon as there is a container and before its program moves. The container kills itself `validForMs` after
   * the last call of `renewLease`, even when the caller hangs: a dead man's switch that keeps two copies of a job from
   * making progress at once. It is the caller's to renew from then on, also while a long restore is under way.
   */
  readonly attachLease: (renewLease: RenewLease) => void;
  readonly signal?: AbortSignal;
}

export interface ThawOptions extends Omit<StartOptions, 'prepareWorkspace'> {
  readonly place: CheckpointPlace;
  readonly checkpointId: string;
  /** Rejects with `substituted` where the checkpoint does not agree with it. */
  readonly known?: KnownOfJob | undefined;
  /** Default `auto`. A lazy thaw reads most of the memory only when the program runs: content that is corrupt then ends it as `lost`. */
  readonly mode?: ThawMode;
  readonly onProgress?: (progress: StepProgress) => void;
}

export interface Runtime {
  readonly name: string;
  /** Resolves to what this machine offers, or rejects with `FreezerError` `cannotRun`, saying what is missing and what to do. */
  check(): Promise<{ criuVersion: string; cpuFeatures: string[] }>;
  start(options: StartOptions): Promise<Run>;
  /** Rejects with `FreezerError` when the checkpoint cannot be read, verified or restored; nothing runs then. */
  thaw(options: ThawOptions): Promise<Run>;
}
