/** Which runtimes work on this machine, tried as a worker tries them, in a state folder that is nobody's. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FreezerError } from '../errors.ts';
import type { MachineAccess } from '../process/machineAccess.ts';
import { BY_PREFERENCE, openRuntimes, type RuntimeName } from '../runtimes.ts';
import { bad, type MachineFinding, ok } from './finding.ts';

export interface RuntimesToCheck {
  /** Those that must be there; `auto` for any. */
  readonly names: readonly RuntimeName[] | 'auto';
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  /** Of `openRuntimes`. */
  readonly imagesDirectory?: string | undefined;
  /** Of `openProcessRuntime`. */
  readonly access?: MachineAccess | undefined;
}

/** With `auto` the absence of one is no failure as long as another is there; what comes after the first that works is not used. */
export async function checkRuntimes(options: RuntimesToCheck): Promise<MachineFinding[]> {
  const problems = new Map<RuntimeName, FreezerError | null>();
  for (const name of options.names === 'auto' ? BY_PREFERENCE : options.names) {
    if (options.names === 'auto' && [...problems.values()].includes(null)) break;
    problems.set(name, await tryRuntime(name, options));
  }
  const isOptional = options.names === 'auto' && [...problems.values()].includes(null);
  return Array.from(problems, ([name, problem]) => {
    const check = `runtime ${name}`;
    if (problem === null) return ok(check, use(name, options.names));
    return bad(isOptional ? 'warn' : 'fail', check, problem.message, problem.remedy);
  });
}

function use(name: RuntimeName, names: RuntimesToCheck['names']): string {
  if (name === 'process') return 'for jobs without an image';
  return names === 'auto'
    ? 'for jobs with an image; those without one wait, unless FLOE_RUNTIMES names process, too'
    : 'for jobs with an image';
}

/** Null when it works. Not in the folder of a worker: what is left in there would be removed. */
async function tryRuntime(name: RuntimeName, options: RuntimesToCheck): Promise<FreezerError | null> {
  const stateDirectory = join(options.stateDirectory, 'doctor', String(process.pid));
  const { toolboxDirectory, imagesDirectory, access } = options;
  try {
    await openRuntimes({ names: [name], stateDirectory, toolboxDirectory, imagesDirectory, access }).check();
    return null;
  } catch (error) {
    if (error instanceof FreezerError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new FreezerError('cannotRun', message, 'Run as root, and let the state folder be writable.', {
      cause: error,
    });
  } finally {
    await rm(stateDirectory, { recursive: true, force: true });
  }
}
