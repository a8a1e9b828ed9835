/**
 * Fills the memory of a job that runs already: `criu lazy-pages`, the daemon, asks the worker's engine for what the job touches, and
 * in the background for the rest (criu/uffd.c).
 *
 * The one danger is that the daemon dies before it is through: the kernel would take what is missing for zeros, and the job would go
 * on with them. So a second process (native/holdFaults.c) has what the kernel goes by, too, and the job waits for pages that do not
 * come; and whatever happens to either before the daemon has said that all is filled, the container ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { FreezerError } from '../errors.ts';
import { toolbox, waitForPages } from '../toolbox.ts';
import { endOf, startCriu } from './criu.ts';
import { places } from './protocol.ts';

/** CRIU's name for it, in the working folder: that of the images for the restore, one of its own for the daemon. */
const SOCKET = 'lazy-pages.socket';
const DAEMON_FOLDER = join(places.images, 'lazy-pages');

const DAEMON_OPTIONS = [
  ...['lazy-pages', '--images-dir', places.images, '--work-dir', DAEMON_FOLDER, '--log-file', 'lazy-pages.log', '-v1'],
  // See `DUMP_OPTIONS` in job.ts for why it is the standard input.
  ...['--page-server', '--ps-socket', '0', '--status-fd', '3'],
];

/** For `criu restore`. */
export const LAZY_OPTIONS = ['--lazy-pages'];

interface Started {
  readonly process: ChildProcess;
  /** Its exit code; null when it was killed. */
  readonly end: Promise<number | null>;
}

/** A container whose job could not be restored ends, and all of this with it. */
export class LazyPages {
  readonly #daemon: Started;
  readonly #holder: Started;

  private constructor(daemon: Started, holder: Started) {
    this.#daemon = daemon;
    this.#holder = holder;
  }

  /**
   * Starts the daemon, which will ask through `pages`. The restore may come when this resolves. Throws `FreezerError` `failed`: the
   * checkpoint may be all right, and an eager thaw of it, which needs nothing of this, succeed.
   */
  static async start(pages: Socket): Promise<LazyPages> {
    await mkdir(DAEMON_FOLDER);
    const daemon = await started(
      startCriu(DAEMON_OPTIONS, { pages, more: ['pipe'], preload: [waitForPages] }),
      3,
      "CRIU's daemon for lazy pages",
    );
    // From now on the daemon's end is the end of the connection.
    pages.destroy();
    const args = [join(places.images, SOCKET), join(DAEMON_FOLDER, SOCKET), String(daemon.process.pid)];
    const holder = spawn(toolbox.holdFaults, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    return new LazyPages(daemon, await started(holder, 1, 'What holds the faults of the job'));
  }

  /** Kills a restore that is under way when the daemon fails: it could wait for a page for ever. */
  guard(restore: ChildProcess): void {
    void this.#daemon.end.then((code) => code === 0 || restore.kill('SIGKILL'));
  }

  /**
   * The restore has succeeded. Resolves when every page of the job is there, and never rejects: where that cannot be, the
   * container ends.
   */
  async fill(): Promise<void> {
    // It ends by itself only when there is nothing left to hold.
    let isFilled = false;
    void this.#holder.end.then(
      (code) => isFilled || code === 0 || cannotFill(`what holds its faults ended with ${code ?? 'a signal'}`),
    );
    const code = await this.#daemon.end;
    if (code !== 0) cannotFill(`CRIU's daemon ended with ${code ?? 'a signal'}`);
    isFilled = true;
    // Until its copies are closed, the job waits even for pages that are zeros by right.
    this.#holder.process.kill('SIGKILL');
    await this.#holder.end;
  }
}

function cannotFill(why: string): never {
  process.stderr.write(`floe agent: the memory of the job could not be filled: ${why}\n`);
  process.exit(1);
}

/** Resolves when the process has said something through this descriptor of its, by which it is ready. */
async function started(process: ChildProcess, descriptor: 1 | 3, what: string): Promise<Started> {
  const end = endOf(process);
  const failed = end.then(
    (code) => didNotStart(what, `it ended with ${code ?? 'a signal'}`),
    (cause: Error) => didNotStart(what, cause.message),
  );
  const ready = once(process, 'spawn').then(
    () => once(process.stdio[descriptor] as Readable, 'data'),
    () => failed,
  );
  await Promise.race([ready, failed]);
  return { process, end };
}

function didNotStart(what: string, why: string): never {
  const remedy = 'Thaw it eagerly, or see what the kernel lacks: CONFIG_USERFAULTFD is needed.';
  throw new FreezerError('failed', `${what} did not start: ${why}.`, remedy);
}
