/**
 * Keeps CRIU waiting once its images are written: the program then stands still because CRIU has seized it, and not by a
 * SIGSTOP, of which the kernel would tell every parent in the tree (SIGCHLD, at the stop and again at the SIGCONT).
 *
 * CRIU runs an "action script" at each of its stages and waits for it; any executable will do (`cr_system` in criu/util.c is
 * an execvp), and native/hold.c is one, since an image need not have a shell. Where the one of `post-dump` fails, CRIU lets
 * the program go on, and takes back the names that it gave to files (cr_dump_finish in criu/cr-dump.c).
 */
import { access, constants, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { watchIfPossible } from '../run/watchIfPossible.ts';
import { toolbox } from '../toolbox.ts';
import { places } from './protocol.ts';

const HELD_FILE = 'held';
const RELEASE_PIPE = join(places.control, 'release');
/** How often to look where nothing tells of changes. The program stands still meanwhile. */
const LOOK_EVERY_MS = 20;

/** For `criu dump`. */
export const HOLD_OPTIONS = ['--action-script', toolbox.hold];

/**
 * To be called before CRIU starts, so that what can fail fails while the program still runs. `held` of the answer resolves
 * when CRIU has dumped and waits. Disposing ends the watch.
 */
export async function prepareHold(control: string = places.control): Promise<{ held: Promise<void> } & Disposable> {
  const heldFile = join(control, HELD_FILE);
  await Promise.all([heldFile, RELEASE_PIPE].map((path) => rm(path, { force: true })));
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const look = () => access(heldFile).then(resolve, () => undefined); // not yet
  const watcher = watchIfPossible(control, look);
  const timer = watcher ? undefined : setInterval(look, LOOK_EVERY_MS);
  return {
    held,
    [Symbol.dispose]: () => {
      watcher?.close();
      clearInterval(timer);
    },
  };
}

/** Lets CRIU go on, and with it the program. The script has the pipe open before it says that it holds. */
export async function release(): Promise<void> {
  // Open for reading too, a pipe never blocks its writer here.
  await using pipe = await open(RELEASE_PIPE, constants.O_RDWR);
  await pipe.write('\n');
}
