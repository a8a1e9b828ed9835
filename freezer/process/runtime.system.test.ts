/** Real programs, real CRIU, a real store: what a user would lose if a move were not exact. */
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore } from '../../store/index.ts';
import { program } from '../../test/support/programs.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { listCheckpoints } from '../checkpoint/catalogue.ts';
import type { CheckpointPlace, Program, Run, Runtime } from '../runtime.ts';
import { openProcessRuntime } from './runtime.ts';

const LEASE_MS = 60_000;

let directory: string;
let place: CheckpointPlace;
const runs: Run[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-runtime-'));
  place = { storeUrl: `file://${join(directory, 'store')}`, prefix: 'jobs/a/' };
});

afterEach(async () => {
  for (const run of runs.splice(0)) await run[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** A machine of its own: nothing of another's state folder is seen. */
function machine(name: string): Runtime {
  return openProcessRuntime({ stateDirectory: join(directory, name), toolboxDirectory: defaultToolbox() });
}

async function start(command: string[], prepareWorkspace?: (directory: string) => Promise<void>): Promise<Run> {
  const options = { jobId: 'a', epoch: 1, program: asProgram(command), leaseMs: LEASE_MS };
  const run = await machine('m0').start(prepareWorkspace ? { ...options, prepareWorkspace } : options);
  runs.push(run);
  return run;
}

/** Freezes a run and thaws it on the machine after, `epoch` counting moves. */
async function move(run: Run, epoch: number): Promise<Run> {
  const { checkpoint } = await run.freeze({ place, epoch, then: 'stop' });
  await run[Symbol.asyncDispose]();
  return thaw(checkpoint.id, epoch + 1);
}

async function thaw(checkpointId: string, epoch: number): Promise<Run> {
  const thawed = await machine(`m${epoch}`).thaw({
    jobId: 'a',
    epoch,
    program: asProgram(['unused']),
    leaseMs: LEASE_MS,
    place,
    checkpointId,
  });
  runs.push(thawed);
  return thawed;
}

function asProgram(command: string[]): Program {
  return { command, env: {} };
}

const output = (run: Run) => readFile(run.logs.stdout, 'utf8');

/** Resolves when the log has at least this many lines, or the program has ended. */
async function untilLines(run: Run, count: number): Promise<void> {
  let hasEnded = false;
  void run.ended.then(() => (hasEnded = true));
  await expect
    .poll(async () => hasEnded || (await output(run)).split('\n').length > count, { timeout: 30_000, interval: 20 })
    .toBe(true);
}

/** Puts a compiled program into the workspace, so that it moves with the job. */
function withProgram(name: string): (directory: string) => Promise<void> {
  return async (workspace) => {
    await writeFile(join(workspace, name), await readFile(await program(name)));
    await chmod(join(workspace, name), 0o755);
  };
}

describe('three moves of the self-verifying job', () => {
  test.each(['plain', 'threads', 'tree', 'shared', 'random'])(
    '%s memory, files and log are what an undisturbed run has',
    async (mode) => {
      const command = ['./memory', '16', '60', mode, '--pace-ms', '20'];
      const undisturbed = await start(['./memory', '16', '60', mode, '--pace-ms', '1'], withProgram('memory'));
      expect(await undisturbed.ended).toEqual({ kind: 'exited', code: 0 });
      const expected = await output(undisturbed);

      let run = await start(command, withProgram('memory'));
      for (const [at, epoch] of [1, 2, 3].entries()) {
        await untilLines(run, 8 * (at + 1));
        run = await move(run, epoch);
      }
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe(expected);
    },
  );
});
