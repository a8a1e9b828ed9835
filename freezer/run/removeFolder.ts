import { execa } from 'execa';

/**
 * Removes a folder with everything in it, also what has a path longer than the kernel takes (`PATH_MAX`; Node's own `rm` gives up
 * there, coreutils' goes down step by step). What cannot be removed is told in a process warning and stays: it must keep neither
 * a job from ending nor a worker from starting, and the next start tries again.
 */
export async function removeFolder(path: string): Promise<void> {
  const { failed, stderr, shortMessage } = await execa('rm', ['--recursive', '--force', '--', path], {
    reject: false,
    stdin: 'ignore',
    maxBuffer: { stderr: 20_000 },
  });
  if (!failed) return;
  const words = stderr.split('\n')[0] || shortMessage;
  process.emitWarning(`The folder ${path} could not be removed, and stays: ${words}`);
}
