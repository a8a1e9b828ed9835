/** What worker and agent say to each other, and where things are inside the container. */
import type { ProgramEnd } from '../runtime.ts';
import type { JobUser } from './user.ts';

/** Folders of the run, mounted at these places in every container. */
export const places = {
  workspace: '/workspace',
  /** Sockets between the container and the worker's side. */
  control: '/floe/control',
  /** The job's output, and what else of Floe's moves with it: how it ended, and its supervisor. */
  logs: '/floe/logs',
  /** CRIU's images, on their way in or out. */
  images: '/floe/images',
  /** What the job changed in its image, on its way in or out. */
  layer: '/floe/layer',
  /** What the job is given anew at each start and thaw (run/secrets.ts); only jobs that have secrets have it. */
  secrets: '/run/secrets',
  /** What agents of one worker leave for those that come after them (agent/common.ts). */
  common: '/floe/common',
} as const;

/** Of the agent's Node, which keeps the code that it has compiled there: it starts in a third of the time. */
export const AGENT_ENVIRONMENT = { NODE_COMPILE_CACHE: `${places.common}/code` } as const;

/**
 * The owner of the folders that are mounted into the container, but are none of the job's business. A job that runs as root has no
 * capability, so it is bound by their mode like anybody else. A number that no image gives to a user, and no job may be.
 */
export const FLOE_UID = 64999;

/** Files in `places.control`. */
export const controlFiles = { worker: 'worker.sock', pages: 'pages.sock' } as const;

/** How a path of the container differs from the image, as the engine tells it. */
export interface LayerChange {
  readonly kind: 'added' | 'changed' | 'deleted';
  /** Absolute. */
  readonly path: string;
}

/** The job as it starts from the beginning. */
export interface JobStart {
  /** The program is looked for in the `PATH` of `env`. */
  readonly command: readonly string[];
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Where it starts; it must be there. */
  readonly directory: string;
  /** Null for root. */
  readonly user: JobUser | null;
}

/** What the job has of its own, as processes.ts counts it: all its processes, and the one that has most. */
export interface MemorySize {
  readonly memoryBytes: number;
  readonly largestBytes: number;
}

/** What the agent does for the worker. */
export interface AgentMethods {
  start(program: JobStart): Promise<void>;
  /** Lazily only after `listenForPages`: resolves when the program runs, which `filled` comes after. */
  restore(of: { rootPid: number; isLazy: boolean }): Promise<void>;
  /** Resolves when all memory of a program that was restored lazily is there; at once for any other. */
  filled(of: Record<string, never>): Promise<void>;
  /** Looks for what CRIU cannot dump, and how much memory there is, without stopping the program. Throws `cannotFreeze`. */
  preflight(of: Record<string, never>): Promise<MemorySize>;
  /** Looks for files of `places.secrets` that the program has open or mapped. Throws `cannotFreeze`. */
  refuseOpenSecrets(of: Record<string, never>): Promise<void>;
  /** Listens for the engine at `pages.sock`, so that it can connect. */
  listenForPages(of: Record<string, never>): Promise<void>;
  /** The engine will not connect after all. */
  abandonPages(of: Record<string, never>): void;
  /**
   * Dumps and leaves the program stopped. `isStreamed`: its memory through that connection; else to images like everything
   * else, where `diskFull` is thrown when they have no room.
   */
  dump(of: { isStreamed: boolean }): Promise<{ rootPid: number }>;
  /** Copies what the job changed in its image to `places.layer`; the program stands still. */
  saveLayer(of: { changes: readonly LayerChange[] }): Promise<void>;
  /** The way back, before `restore`. */
  applyLayer(of: Record<string, never>): Promise<void>;
  resume(of: Record<string, never>): Promise<void>;
  signal(of: { signal: number }): void;
  /** Who `user[:group]` is in the container; empty is root. Throws `unsupported` for a name that it does not know. */
  resolveUser(of: { user: string }): Promise<JobUser & { readonly home: string }>;
  /**
   * Makes the clouds' metadata endpoints unreachable from the container, and `addresses` (`ADDRESS[/PREFIX]`) with them. Before
   * `start` and `restore`, and only where the container has a network namespace of its own: it would cut off the machine itself.
   */
  isolateNetwork(of: { addresses?: readonly string[] }): Promise<void>;
  /**
   * Whether everything of Floe's is mounted where the worker put it, told as native/checkMounts.c has it. Before `start` and
   * `restore`. Throws `unsupported` when it is not.
   */
  checkMounts(of: { expected: readonly string[] }): Promise<void>;
  /** Whether the kernel has killed a process of this container for want of memory. False where that cannot be seen. */
  memoryEvents(of: Record<string, never>): Promise<{ killed: boolean }>;
  /** What files have on the disk that its processes have open and that have lost their name. */
  unlinkedBytes(of: Record<string, never>): Promise<{ bytes: number }>;
  /** Those that the agent really has, as bits in hexadecimal digits: engines may drop what they were asked for without a word. */
  capabilities(of: Record<string, never>): Promise<{ mask: string }>;
  renewLease(of: { validForMs: number }): void;
  /** Ends the container and with it everything in it. */
  exit(of: Record<string, never>): void;
}

/** What the agent tells the worker. */
export interface WorkerMethods {
  ended(end: ProgramEnd): void;
}
