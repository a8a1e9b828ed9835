/** What worker and agent say to each other, and where things are inside the container. */
import type { ProgramEnd } from '../runtime.ts';

/** Folders of the run, mounted at these places in every container. */
export const places = {
  workspace: '/workspace',
  /** Sockets between the container and the worker's side. */
  control: '/floe/control',
  logs: '/floe/logs',
  /** CRIU's images, on their way in or out. */
  images: '/floe/images',
  /** What the job changed in its image, on its way in or out. */
  layer: '/floe/layer',
} as const;

/** Files in `places.control`. */
export const controlFiles = { worker: 'worker.sock', pages: 'pages.sock' } as const;

/** How a path of the container differs from the image, as the engine tells it. */
export interface LayerChange {
  readonly kind: 'added' | 'changed' | 'deleted';
  /** Absolute. */
  readonly path: string;
}

/** What the agent does for the worker. */
export interface AgentMethods {
  start(program: { command: readonly string[]; env: Readonly<Record<string, string>> }): Promise<void>;
  restore(of: { rootPid: number }): Promise<void>;
  /** Looks for what CRIU cannot dump, without stopping the program. Throws `cannotFreeze`. */
  preflight(of: Record<string, never>): Promise<void>;
  /** Listens for the engine at `pages.sock`, so that it can connect. */
  listenForPages(of: Record<string, never>): Promise<void>;
  /** The engine will not connect after all. */
  abandonPages(of: Record<string, never>): void;
  /** Dumps through that connection and leaves the program stopped. */
  dump(of: Record<string, never>): Promise<{ rootPid: number }>;
  /** Copies what the job changed in its image to `places.layer`; the program stands still. */
  saveLayer(of: { changes: readonly LayerChange[] }): Promise<void>;
  /** The way back, before `restore`. */
  applyLayer(of: Record<string, never>): Promise<void>;
  resume(of: Record<string, never>): Promise<void>;
  signal(of: { signal: number }): void;
  renewLease(of: { validForMs: number }): void;
  /** Ends the container and with it everything in it. */
  exit(of: Record<string, never>): void;
}

/** What the agent tells the worker. */
export interface WorkerMethods {
  ended(end: ProgramEnd): void;
}
