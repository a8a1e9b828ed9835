/**
 * The runtimes that a machine has, as one: a job with an image runs in a container, one without on the machine itself.
 *
 * `auto` is the container engine that answers, and `process` only where none does: a container keeps a job from the machine better. What
 * that means for `process` is decided by `check`, for good: an engine that comes up later is used, but takes nothing away.
 */
import { openContainerRuntime } from './container/runtime.ts';
import { FreezerError } from './errors.ts';
import type { MachineAccess } from './process/machineAccess.ts';
import { openProcessRuntime } from './process/runtime.ts';
import type { Program, Run, Runtime, StartOptions, ThawOptions } from './runtime.ts';

export const RUNTIME_NAMES = ['process', 'docker', 'podman'] as const;
export type RuntimeName = (typeof RUNTIME_NAMES)[number];
const ENGINES = ['docker', 'podman'] as const;
/** As `auto` takes them. */
export const BY_PREFERENCE = [...ENGINES, 'process'] as const;

export interface RuntimesOptions {
  /** Those that must be there; `auto` as said above. */
  readonly names: readonly RuntimeName[] | 'auto';
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  /** Where CRIU's images are kept. Default /dev/shm/floe where that can be used, else the state folder. */
  readonly imagesDirectory?: string | undefined;
  /** For `auto`, once something is found: why another runtime is not used. */
  readonly onAbsent?: (name: RuntimeName, why: FreezerError) => void;
  /** For `auto`: an engine came up after `check`, and jobs without an image go on as processes of the machine. */
  readonly onLateEngine?: (name: RuntimeName) => void;
  /** Of `openProcessRuntime`. */
  readonly access?: MachineAccess | undefined;
}

export function openRuntimes(options: RuntimesOptions): Runtime {
  return new Runtimes(options);
}

class Runtimes implements Runtime {
  readonly #options: RuntimesOptions;
  /** Filled by `check`. */
  readonly #found: Runtime[] = [];
  /** A look for an engine that is under way. */
  #looking: Promise<void> | undefined;

  constructor(options: RuntimesOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#found.map(({ name }) => name).join(' and ');
  }

  async check(): Promise<{ criuVersion: string; cpuFeatures: string[] }> {
    const { names } = this.#options;
    this.#found.length = 0;
    const machine = names === 'auto' ? await this.#checkFirst(BY_PREFERENCE) : await this.#checkEach(names);
    if (machine) return machine;
    throw new FreezerError('cannotRun', 'This machine has no runtime for jobs.', 'Name one in `worker.runtimes`.');
  }

  async start(options: StartOptions): Promise<Run> {
    return await (await this.#for(options.program)).start(options);
  }

  async thaw(options: ThawOptions): Promise<Run> {
    return await (await this.#for(options.program)).thaw(options);
  }

  async #checkEach(names: readonly RuntimeName[]) {
    let machine: Awaited<ReturnType<Runtime['check']>> | null = null;
    for (const name of names) {
      const runtime = this.#open(name);
      machine = await runtime.check();
      this.#found.push(runtime);
    }
    return machine;
  }

  /** The first that works. Rejects with the last one's reason when there is none. */
  async #checkFirst(names: readonly RuntimeName[]) {
    const absent: [RuntimeName, FreezerError][] = [];
    for (const name of names) {
      try {
        const machine = await this.#checkEach([name]);
        for (const [other, why] of absent) this.#options.onAbsent?.(other, why);
        return machine;
      } catch (error) {
        if (!(error instanceof FreezerError)) throw error;
        absent.push([name, error]);
      }
    }
    const [, why] = absent.at(-1) ?? [];
    if (why) throw why;
    return null;
  }

  #open(name: RuntimeName): Runtime {
    const { stateDirectory, toolboxDirectory, imagesDirectory, access } = this.#options;
    if (name === 'process') return openProcessRuntime({ stateDirectory, toolboxDirectory, imagesDirectory, access });
    return openContainerRuntime({ engine: name, stateDirectory, toolboxDirectory, imagesDirectory });
  }

  async #for({ image }: Program): Promise<Runtime> {
    const find = () => this.#found.find(({ name }) => (name === 'process') === (image === undefined));
    const runtime = find() ?? (await this.#lookForEngine(image).then(find));
    if (runtime) return runtime;
    throw image === undefined
      ? new FreezerError(
          'notHere',
          'This worker runs images only, and the job names none.',
          'Submit it with `image`, or let a worker of its pool run jobs as processes: `worker.runtimes: process,docker` (FLOE_RUNTIMES). On a machine with an engine that must be asked for by name.',
        )
      : new FreezerError(
          'notHere',
          `This worker has no container engine that answers, and the job wants the image ${image}.`,
          "Let a worker of its pool have Docker or Podman (this one's log says why it has none), or submit it without `image`.",
        );
  }

  /** An engine may have come up after the worker did. One look serves all jobs that want one meanwhile. */
  async #lookForEngine(image: string | undefined): Promise<void> {
    if (image === undefined || this.#options.names !== 'auto') return;
    this.#looking ??= this.#findEngine().finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  async #findEngine(): Promise<void> {
    try {
      await this.#checkFirst(ENGINES);
      const names = this.#found.map(({ name }) => name);
      const engine = ENGINES.find((name) => names.includes(name));
      if (engine && names.includes('process')) this.#options.onLateEngine?.(engine);
    } catch (error) {
      if (!(error instanceof FreezerError)) throw error; // else there is none still, which the caller tells
    }
  }
}
