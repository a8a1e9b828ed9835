/** The toolbox: a self-contained folder with CRIU, Node, a few GNU tools, their libraries and loader, an init, and Floe's own programs. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FreezerError } from './errors.ts';

/** Where the toolbox is seen inside every container. */
export const TOOLBOX_IN_CONTAINER = '/floe/toolbox';

/**
 * Where CRIU keeps what it knows of the kernel, by the toolbox's doing: where the job cannot be. It keeps nothing in a folder
 * that is no tmpfs, as it could be there after a reboot with another kernel (kerndat_save_cache in criu/kerndat.c).
 */
export const CRIU_KERNEL_FOLDER = '/floe/kd';

/** Programs that are linked statically, and so started as they are. */
export const toolbox = {
  init: join(TOOLBOX_IN_CONTAINER, 'bin/init'),
  supervisor: join(TOOLBOX_IN_CONTAINER, 'bin/supervisor'),
  hold: join(TOOLBOX_IN_CONTAINER, 'bin/hold'),
  lastPid: join(TOOLBOX_IN_CONTAINER, 'bin/last-pid'),
  isolateNetwork: join(TOOLBOX_IN_CONTAINER, 'bin/isolate-network'),
} as const;

/** Programs that need the toolbox's libraries. */
export type Tool = 'criu' | 'node' | 'tar' | 'cp' | 'rm' | 'getfattr' | 'setfattr';

/** The command line that starts a tool through the toolbox's own loader, so that no library of the image's is used. */
export function toolCommand(tool: Tool, directory = TOOLBOX_IN_CONTAINER): [string, ...string[]] {
  const lib = join(directory, 'lib');
  return [join(lib, 'ld.so'), '--inhibit-cache', '--library-path', lib, join(directory, 'bin', tool)];
}

/** CRIU's version, `[major, minor, patch]`. Throws `FreezerError` `cannotRun` when there is no toolbox. */
export async function readCriuVersion(directory: string): Promise<[number, number, number]> {
  const remedy = 'Run `scripts/setup/main run` as root, or set FLOE_TOOLBOX to where the toolbox is.';
  const text = await readFile(join(directory, 'criu-version'), 'utf8').catch((cause: unknown) => {
    throw new FreezerError('cannotRun', `There is no CRIU toolbox in ${directory}.`, remedy, { cause });
  });
  const match = /^Version: (\d+)\.(\d+)(?:\.(\d+))?/m.exec(text);
  if (!match) throw new FreezerError('cannotRun', `The toolbox in ${directory} names no CRIU version.`, remedy);
  return [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}
