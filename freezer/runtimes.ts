/** The runtimes that a machine has, as one: a job with an image runs in a container, one without on the machine itself. */
import { openContainerRuntime } from './container/runtime.ts';
import { FreezerError } from './errors.ts';
import { openProcessRuntime } from './process/runtime.ts';
import type { Program, Run, Runtime, StartOptions, ThawOptions } from './runtime.ts';

export const RUNTIME_NAMES = ['process', 'docker', 'podman'] as const;
export type RuntimeName = (typeof RUNTIME_NAMES)[number];

export interface RuntimesOptions {
  /** Those that must be there; `auto` for what is. */
  readonly names: readonly RuntimeName[] | 'auto';
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  /** For `auto`: why a runtime is not used. */
  readonly onAbsent?: (name: RuntimeName, why: FreezerError) => void;
}

export function openRuntimes(options: RuntimesOptions): Runtime {
  return new Runtimes(options);
}

class Runtimes implements Runtime {
  readonly #options: RuntimesOptions;
  /** Filled by `check`. */
  readonly #found: Runtime[] = [];

  constructor(options: RuntimesOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#found.map(({ name }) => name).join(' and ');
  }

  async check(): Promise<{ criuVersion: string; cpuFeatures: string[] }> {
    const { names } = this.#options;
    this.#found.length = 0;
    const machine = names === 'auto' ? await this.#checkAll() : await this.#checkEach(names);
    if (machine) return machine;
    throw new FreezerError('cannotRun', 'This machine has no runtime for jobs.', 'Name one in `worker.runtimes`.');
  }

  async start(options: StartOptions): Promise<Run> {
    return await this.#for(options.program).start(options);
  }

  async thaw(options: ThawOptions): Promise<Run> {
    return await this.#for(options.program).thaw(options);
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

  /** Podman only where there is no Docker. Rejects with the process runtime's reason when there is nothing. */
  async #checkAll() {
    const reasons: FreezerError[] = [];
    let machine: Awaited<ReturnType<Runtime['check']>> | null = null;
    for (const name of RUNTIME_NAMES) {
      if (this.#found.some((runtime) => runtime.name === 'docker')) break;
      try {
        machine = await this.#checkEach([name]);
      } catch (error) {
        if (!(error instanceof FreezerError)) throw error;
        reasons.push(error);
        this.#options.onAbsent?.(name, error);
      }
    }
    if (machine === null && reasons[0]) throw reasons[0];
    return machine;
  }

  #open(name: RuntimeName): Runtime {
    const { stateDirectory, toolboxDirectory } = this.#options;
    if (name === 'process') return openProcessRuntime({ stateDirectory, toolboxDirectory });
    return openContainerRuntime({ engine: name, stateDirectory, toolboxDirectory });
  }

  #for({ image }: Program): Runtime {
    const runtime = this.#found.find(({ name }) => (name === 'process') === (image === undefined));
    if (runtime) return runtime;
    throw image === undefined
      ? new FreezerError(
          'unsupported',
          'This worker runs images only, and the job names none.',
          'Submit it with `image`, or to a pool whose workers have the process runtime.',
        )
      : new FreezerError(
          'unsupported',
          `This worker has no container engine, and the job wants the image ${image}.`,
          'Submit it without `image`, or to a pool whose workers have Docker or Podman.',
        );
  }
}
