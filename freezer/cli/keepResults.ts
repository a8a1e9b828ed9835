/** Where the files of a program go that has ended by itself: back to where they came from. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { execa } from 'execa';
import { volumesOf } from '../process/volumes.ts';
import type { Run } from '../runtime.ts';

/**
 * Copies the workspace to the folder that it began as, if any, and every volume to its place. Files that the program has removed
 * stay there. Rejects when that fails; the run's folder still has everything.
 */
export async function keepResults(run: Run, workspace: string | null): Promise<void> {
  if (workspace !== null) await copyFolder(run.workspace, workspace);
  for (const { place, directory } of await volumesOf(dirname(run.workspace))) await copyFolder(directory, place);
}

async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await execa('cp', ['--archive', '--remove-destination', '--no-target-directory', '--', from, to]);
}
