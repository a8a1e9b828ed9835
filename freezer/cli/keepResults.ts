/** Where the files of a program go that has ended by itself: back to where they came from. */
import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ExecaError, execa } from 'execa';
import { volumesOf } from '../process/volumes.ts';
import type { Run } from '../runtime.ts';
import { CommandError } from './commandError.ts';

/**
 * Copies the workspace to the folder that it began as, if any, and every volume to its place. Files that the program has removed
 * stay there. Throws `CommandError` `notCopied` when that fails: everything is then in a folder `results-…` of the state
 * folder, which the message names and nothing removes.
 */
export async function keepResults(run: Run, workspace: string | null, stateDirectory: string): Promise<void> {
  const files = dirname(run.workspace);
  try {
    if (workspace !== null) await copyFolder(run.workspace, workspace);
    for (const { place, directory } of await volumesOf(files)) await copyFolder(directory, place);
  } catch (error) {
    const results = await setAside(files, stateDirectory);
    const what = `What the program has written could not be copied back, and is kept in ${results}: ${reasonOf(error)}`;
    throw new CommandError('notCopied', what, 'Take it from there; the checkpoints are kept too.', { cause: error });
  }
}

async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  // Detached: a Ctrl-C at the terminal must not end it halfway.
  const options = { detached: true } as const;
  await execa('cp', ['--archive', '--remove-destination', '--no-target-directory', '--', from, to], options);
}

/** Moves the files out of the run's folder, which ends with the run, and out of `runs`, which every start sweeps. */
async function setAside(files: string, stateDirectory: string): Promise<string> {
  const results = join(stateDirectory, `results-${basename(dirname(files))}`);
  await rename(files, results);
  return results;
}

/** One line: `cp` has one for each file that it could not copy. */
function reasonOf(error: unknown): string {
  const words = error instanceof ExecaError ? error.stderr || error.shortMessage : String(error);
  const [first] = words.split('\n');
  return `${first}.`;
}
