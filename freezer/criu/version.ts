/** Which CRIU a toolbox has: the binary itself is asked, because what it speaks depends on it. */
import { execa } from 'execa';
import { FreezerError } from '../errors.ts';
import { toolCommand } from '../toolbox.ts';

const REMEDY = 'Run `scripts/setup/main run` as root, or set FLOE_TOOLBOX to where the toolbox is.';

/** `[major, minor, patch]`. Throws `FreezerError` `cannotRun` when there is no toolbox, or its CRIU does not start. */
export async function readCriuVersion(toolboxDirectory: string): Promise<[number, number, number]> {
  const [program, ...args] = toolCommand('criu', toolboxDirectory);
  const { failed, code, stdout, stderr, shortMessage } = await execa(program, [...args, '--version'], {
    reject: false,
  });
  if (code === 'ENOENT') throw cannotRun(`There is no CRIU toolbox in ${toolboxDirectory}.`);
  if (failed) throw cannotRun(`CRIU in ${toolboxDirectory} does not start: ${stderr.trim() || shortMessage}.`);
  const match = /^Version: (\d+)\.(\d+)(?:\.(\d+))?/m.exec(stdout);
  if (!match) throw cannotRun(`CRIU in ${toolboxDirectory} names no version.`);
  return [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

function cannotRun(message: string): FreezerError {
  return new FreezerError('cannotRun', message, REMEDY);
}
