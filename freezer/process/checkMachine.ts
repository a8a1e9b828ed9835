/** Whether this machine can freeze and thaw at all, said before the first job is taken. */
import { execa } from 'execa';
import { readCriuVersion } from '../criu/version.ts';
import { FreezerError } from '../errors.ts';
import { toolCommand } from '../toolbox.ts';
import { whileMountsMove } from './steadyMounts.ts';

export const OLDEST_CRIU = [4, 0] as const;

/** Throws `FreezerError` `cannotRun` with what is missing and what to do about it. */
export async function checkMachine(toolboxDirectory: string): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw cannotRun('Freezing processes needs root.', 'Start the worker as root, for instance with sudo.');
  }
  const [major, minor] = await readCriuVersion(toolboxDirectory);
  if (major < OLDEST_CRIU[0]) {
    throw cannotRun(
      `CRIU ${major}.${minor} is too old.`,
      `Install CRIU ${OLDEST_CRIU.join('.')} or newer: \`scripts/setup/main run\`.`,
    );
  }
  await checkBubblewrap();
  await whileMountsMove(() => checkCriu(toolboxDirectory));
}

async function checkBubblewrap(): Promise<void> {
  const { failed, exitCode, stderr } = await execa('bwrap', ['--version'], { reject: false });
  if (!failed) return;
  const what = exitCode === undefined ? 'bubblewrap (bwrap) is not installed.' : `bubblewrap does not start: ${stderr}`;
  throw cannotRun(what, 'Install the package bubblewrap.');
}

/**
 * `criu check`, in a sandbox such as jobs have: in a container /proc/sys is read-only, and only a /proc of its own is not.
 * Throws `FreezerError` `cannotRun` with CRIU's own words.
 */
export async function checkCriu(toolboxDirectory: string): Promise<void> {
  const args = [
    ...['--unshare-pid', '--cap-add', 'ALL', '--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc'],
    // CRIU tries things out in /tmp, and that may be where the toolbox is.
    ...['--tmpfs', '/tmp', '--ro-bind', toolboxDirectory, toolboxDirectory],
    ...['--', ...toolCommand('criu', toolboxDirectory), 'check'],
  ];
  const { failed, all } = await execa('bwrap', args, { reject: false, all: true });
  if (!failed) return;
  const words =
    all
      .split('\n')
      .filter((line) => line.includes('Error'))
      .at(-1)
      ?.replace(/^.*?\): */, '') ?? all.trim();
  throw cannotRun(
    `CRIU cannot work on this kernel: ${words}`,
    'Use a kernel 5.11 or newer with CONFIG_CHECKPOINT_RESTORE, and give a container that freezes SYS_ADMIN, NET_ADMIN, SYS_TIME and seccomp=unconfined.',
  );
}

function cannotRun(message: string, remedy: string): FreezerError {
  return new FreezerError('cannotRun', message, remedy);
}
