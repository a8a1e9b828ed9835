/** The toolbox: a self-contained folder with CRIU, Node, a few GNU tools, their libraries and loader, an init, and Floe's own programs. */
import { join } from 'node:path';

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
  checkMounts: join(TOOLBOX_IN_CONTAINER, 'bin/check-mounts'),
  supervisor: join(TOOLBOX_IN_CONTAINER, 'bin/supervisor'),
  hold: join(TOOLBOX_IN_CONTAINER, 'bin/hold'),
  fillMemory: join(TOOLBOX_IN_CONTAINER, 'bin/fill-memory'),
  lastPid: join(TOOLBOX_IN_CONTAINER, 'bin/last-pid'),
  isolateNetwork: join(TOOLBOX_IN_CONTAINER, 'bin/isolate-network'),
  answerNeighbours: join(TOOLBOX_IN_CONTAINER, 'bin/answer-neighbours'),
} as const;

/** Programs that need the toolbox's libraries. */
export type Tool = 'criu' | 'node' | 'tar' | 'cp' | 'rm' | 'getfattr' | 'setfattr';

/** What CRIU is to load first when it restores a job (agent/native/letGo.c). */
export const letGo = join(TOOLBOX_IN_CONTAINER, 'lib/let-go.so');

/** The command line that starts a tool through the toolbox's own loader, so that no library of the image's is used. */
export function toolCommand(
  tool: Tool,
  directory = TOOLBOX_IN_CONTAINER,
  preload: readonly string[] = [],
): [string, ...string[]] {
  const lib = join(directory, 'lib');
  const options = ['--inhibit-cache', '--library-path', lib, ...preload.flatMap((library) => ['--preload', library])];
  return [join(lib, 'ld.so'), ...options, join(directory, 'bin', tool)];
}
