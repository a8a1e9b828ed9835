/** What the worker asks of an engine process, and what that tells. One process does one freeze or one thaw. */
import type { CheckpointPlace, CheckpointSummary, KnownOfJob, StepProgress, ThawMode } from '../runtime.ts';

export interface EngineMethods {
  /** Loads and starts what can be before it is known what is to be done. */
  warmUp(expected: Expected): Promise<void>;
  /** Opens the store and the codec, so that nothing of that falls into the time that the program stands still. */
  prepareFreeze(order: FreezeOrder): Promise<void>;
  /**
   * CRIU is about to dump to images in this folder: what can be done about them while it does, is. Resolves at once.
   * `mayStore`: their memory may be cut into chunks wherever that is.
   */
  followImages(of: FollowOrder): Promise<void>;
  /**
   * Connects to the socket in the control folder and takes CRIU's page stream to its end. `isWhole`: CRIU has said that it is
   * through. Rejects only for reasons of its own: the store refuses, the stream is not understood.
   */
  receivePages(of: { controlDirectory: string; criuVersion: [number, number, number] }): Promise<{ isWhole: boolean }>;
  /**
   * Reads CRIU's images and the job's files. Resolves when everything has been read, though not yet sent, and nothing of it is needed
   * any more. Memory that is among the images stays there until it is sent.
   */
  saveFiles(of: FreezeFolders): Promise<void>;
  /** Waits until all is durable and writes the manifest. Until this resolves there is no checkpoint. */
  commit(facts: CommitFacts): Promise<CheckpointSummary>;
  /**
   * Opens a checkpoint and makes its folders and files in `filesDirectory`, still without content: a container can have them mounted
   * from now on. Folders may be there before.
   */
  prepareThaw(order: ThawOrder): Promise<Found>;
  /** Verifies all that is wanted before the start, while it fills the files and writes CRIU's images. */
  fetch(of: Record<string, never>): Promise<void>;
  /**
   * Connects to the socket in the control folder and brings a program that is thawed lazily its memory. Resolves when it has all of
   * it. Where that cannot be (`corrupt` content, say), the container must end before this process does.
   */
  fill(order: FillOrder): Promise<void>;
}

/** What an engine will most likely be for; nothing that it does wrong where it is for something else. */
export interface Expected {
  readonly storeUrl: string | null;
  /** The checkpoint that a freeze builds on. */
  readonly base: { readonly place: CheckpointPlace; readonly id: string } | null;
}

export interface FreezeOrder {
  readonly place: CheckpointPlace;
  readonly checkpointId: string;
  /** The run's last checkpoint, or the one that it was thawed from: what that has is not sent again. */
  readonly baseId: string | null;
  /** Where the run keeps its pages' digests (checkpoint/pageDigests.ts). */
  readonly digestsDirectory: string;
  /** Has the codec, and tools that read and set what Node cannot. */
  readonly toolboxDirectory: string;
  /** Most content that waits in memory to be hashed or compressed. */
  readonly bufferBytes?: number | undefined;
}

export interface FollowOrder {
  readonly imagesDirectory: string;
  readonly mayStore: boolean;
}

/** Folders on this machine: CRIU's images, and the files that move. */
export interface FreezeFolders {
  readonly imagesDirectory: string;
  readonly filesDirectory: string;
}

export interface ThawOrder extends FreezeFolders {
  readonly place: CheckpointPlace;
  readonly checkpointId: string;
  readonly known?: KnownOfJob | undefined;
  readonly mode: ThawMode;
  /** As in `FreezeOrder`. */
  readonly digestsDirectory: string;
  readonly toolboxDirectory: string;
}

/** What only the worker's side knows about a freeze. */
export interface CommitFacts {
  readonly epoch: number;
  readonly frozenAt: number;
  readonly criuVersion: string;
  readonly runtime: string;
  readonly image: string | null;
  readonly rootPid: number;
  readonly cpuFeatures: readonly string[];
}

export interface Found {
  /** The digest of the image that it ran in. */
  readonly image: string | null;
  readonly rootPid: number;
  readonly logSizes: { readonly stdout: number; readonly stderr: number };
  /** Names of the folders in `filesDirectory`. */
  readonly folders: readonly string[];
  /** Most of the memory is left out of the images: `fill` is to follow. */
  readonly isLazy: boolean;
}

export interface FillOrder {
  readonly controlDirectory: string;
}

export interface EngineEvents {
  progress(progress: StepProgress): void;
}
