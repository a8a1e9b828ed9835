/**
 * The kernel counts the descriptors that epoll watches by user, over all containers (`max_user_watches` in epoll(7); by default for
 * 4 % of memory). Jobs may be root, as the worker is. One job could take all there are, and Node aborts when it gets none.
 * With more than memory can hold, a job comes to its own limit of memory first: there the kernel counts them, too.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import type { Logger } from 'pino';

const LIMIT_FILE = '/proc/sys/fs/epoll/max_user_watches';
/** What the kernel needs for one at least; measured: 205. */
const WATCH_BYTES = 128;

export function enoughWatches(): number {
  return Math.ceil(totalmem() / WATCH_BYTES);
}

/** Raises the machine's limit where it is too low. A worker that may not do that says so in its log, and works all the same. */
export async function raiseEpollWatches(logger: Logger): Promise<void> {
  try {
    if (Number(await readFile(LIMIT_FILE, 'utf8')) >= enoughWatches()) return;
    await writeFile(LIMIT_FILE, String(enoughWatches()), { flag: 'r+' });
  } catch (err) {
    logger.warn(
      { err },
      `a job that is root can end this worker by using up what epoll may watch: set the machine's fs.epoll.max_user_watches to ${enoughWatches()}`,
    );
  }
}
