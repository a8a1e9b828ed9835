/**
 * For tests of runtimes: machines that know nothing of each other, though all are this one, with a store between them, and the
 * runs of one job. Disposing ends what was started and removes what was written.
 */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { openStore } from '../../store/index.ts';
import { type ProgramName, program } from '../../test/support/programs.ts';
import { listCheckpoints } from '../checkpoint/catalogue.ts';
import type { CheckpointPlace, Program, RenewLease, Run, Runtime, ThawMode } from '../runtime.ts';

/** Long enough for any test. */
const LEASE_MS = 600_000;

export type OpenRuntime = (stateDirectory: string) => Runtime;

/** Making a machine ready takes a runtime longer than most tests take. */
interface Machines {
  /** Their state folders are in it. */
  readonly directory: string;
  readonly opened: Map<string, Runtime>;
}

export class Stage implements AsyncDisposable {
  readonly directory: string;
  /** How runs are thawed. */
  mode: ThawMode = 'auto';
  /** What the job has in /run/secrets at the next start or thaw; null: it has no such folder. */
  secrets: Readonly<Record<string, string>> | null = null;
  /** Where checkpoints go. */
  place: CheckpointPlace;
  readonly #open: OpenRuntime;
  /** What every program has, an image say. */
  readonly #common: Partial<Program>;
  readonly #machines: Machines;
  readonly #runs: Run[] = [];
  #renewNewest: RenewLease = () => undefined;

  private constructor(directory: string, machines: Machines, open: OpenRuntime, common: Partial<Program>) {
    this.directory = directory;
    this.#machines = machines;
    this.#open = open;
    this.#common = common;
    this.place = { storeUrl: `file://${join(directory, 'store')}`, prefix: 'jobs/a/' };
  }

  /** Without machines it has new ones of its own. */
  static async make(open: OpenRuntime, common: Partial<Program> = {}, machines?: Machines): Promise<Stage> {
    const directory = await mkdtemp(join(tmpdir(), 'floe-runtime-'));
    return new Stage(directory, machines ?? { directory, opened: new Map() }, open, common);
  }

  /** Where the machine of that name keeps its runs. */
  stateDirectory(name: string): string {
    return join(this.#machines.directory, name);
  }

  machine(name: string): Runtime {
    const machine = this.#machines.opened.get(name) ?? this.#open(this.stateDirectory(name));
    this.#machines.opened.set(name, machine);
    return machine;
  }

  /** As a worker process that starts again finds it. */
  reopen(name: string): Runtime {
    this.#machines.opened.delete(name);
    return this.machine(name);
  }

  program(command: string[], more: Partial<Program> = {}): Program {
    return { command, env: {}, ...this.#common, ...more };
  }

  async start(
    command: string[],
    prepareWorkspace: (directory: string) => Promise<void> = async () => undefined,
    more: Partial<Program> = {},
  ): Promise<Run> {
    const program = this.program(command, more);
    const run = await this.machine('m0').start({ ...this.#options(1), program, prepareWorkspace });
    this.#runs.push(run);
    return run;
  }

  /** Freezes a run and thaws it on the machine after, `epoch` counting moves. */
  async move(run: Run, epoch: number, more: Partial<Program> = {}): Promise<Run> {
    const { checkpoint } = await run.freeze({ place: this.place, epoch, afterwards: 'stop' });
    await run[Symbol.asyncDispose]();
    return this.thaw(checkpoint.id, epoch + 1, more);
  }

  async thaw(checkpointId: string, epoch: number, more: Partial<Program> = {}): Promise<Run> {
    const program = this.program(['unused'], more);
    const options = { ...this.#options(epoch), program, place: this.place, checkpointId, mode: this.mode };
    const run = await this.machine(`m${epoch}`).thaw(options);
    this.#runs.push(run);
    return run;
  }

  #options(epoch: number) {
    const options = { jobId: 'a', epoch, attachLease: this.attachLease };
    return this.secrets === null ? options : { ...options, prepareSecrets: this.#writeSecrets };
  }

  readonly #writeSecrets = async (directory: string): Promise<void> => {
    for (const [name, value] of Object.entries(this.secrets ?? {})) {
      await writeFile(join(directory, name), value, { mode: 0o444 });
    }
  };

  readonly attachLease = (renewLease: RenewLease): void => {
    this.#renewNewest = renewLease;
    renewLease(LEASE_MS);
  };

  /** Renews the lease of the container that was made last. */
  renewNewest(validForMs: number): void {
    this.#renewNewest(validForMs);
  }

  async checkpoints(): Promise<string[]> {
    await using store = await openStore(this.place.storeUrl);
    return (await listCheckpoints(store, this.place.prefix)).map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const run of this.#runs) await run[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A runtime, and what the programs in its containers find there. */
export interface Kind {
  /** Makes the images where there are some. Default none needed. */
  readonly prepare?: () => Promise<Partial<Program>>;
  readonly open: OpenRuntime;
  /** The self-verifying program in the image. Default: it is put into the workspace. */
  readonly memory?: string;
  /** What it is moved as. Default all that it can do. */
  readonly modes?: readonly string[];
}

/**
 * A stage of its own for each test of the group that this is called in. The machines are the group's, unless `newMachines` says
 * that each test shall have new ones.
 */
export function onStage(kind: Kind, { newMachines = false } = {}): () => Stage {
  let stage: Stage;
  let common: Partial<Program> = {};
  let machines: Machines;
  beforeAll(async () => {
    common = (await kind.prepare?.()) ?? {};
    machines = { directory: await mkdtemp(join(tmpdir(), 'floe-machines-')), opened: new Map() };
  });
  beforeEach(async () => {
    stage = await Stage.make(kind.open, common, newMachines ? undefined : machines);
  });
  afterEach(async () => {
    await stage[Symbol.asyncDispose]();
  });
  afterAll(() => rm(machines.directory, { recursive: true, force: true }));
  return () => stage;
}

export const output = (run: Run): Promise<string> => readFile(run.logs.stdout, 'utf8');

/** Resolves when the log has at least this many lines, or the program has ended. */
export async function untilLines(run: Run, count: number, withinMs = 60_000): Promise<void> {
  let hasEnded = false;
  void run.ended.then(() => (hasEnded = true));
  await expect
    .poll(async () => hasEnded || (await output(run)).split('\n').length > count, { timeout: withinMs, interval: 20 })
    .toBe(true);
}

/** Puts compiled programs into the workspace, so that they move with the job. */
export function withPrograms(...names: ProgramName[]): (directory: string) => Promise<void> {
  return async (workspace) => {
    for (const name of names) {
      await writeFile(join(workspace, name), await readFile(await program(name)));
      await chmod(join(workspace, name), 0o755);
    }
  };
}
