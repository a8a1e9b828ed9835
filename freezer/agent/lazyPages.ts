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
import { toolbox } from '../toolbox.ts';
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

export class LazyPages {
  readonly #daemon: ChildProcess;
  readonly #holder: ChildProcess;
  readonly #ends: readonly [daemon: Promise<number | null>, holder: Promise<number | null>];

  private constructor(daemon: ChildProcess, daemonEnd: Promise<number | null>, holder: ChildProcess) {
    this.#daemon = daemon;
    this.#holder = holder;
    this.#ends = [daemonEnd, endOf(holder)];
  }

  /** Starts the daemon, which will ask through `pages`. The restore may come when this resolves. Throws `FreezerError` `restoreFailed`. */
  static async start(pages: Socket): Promise<LazyPages> {
    await mkdir(DAEMON_FOLDER);
    const daemon = startCriu(DAEMON_OPTIONS, pages, ['pipe']);
    const daemonEnd = endOf(daemon);
    const status = daemon.stdio[3] as Readable;
    await ready(once(status, 'data'), daemonEnd, "CRIU's daemon for lazy pages");
    // From now on the daemon's end is the end of the connection.
    pages.destroy();
    const paths = [join(places.images, SOCKET), join(DAEMON_FOLDER, SOCKET)];
    const holder = spawn(toolbox.holdFaults, [...paths, String(daemon.pid)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lazyPages = new LazyPages(daemon, daemonEnd, holder);
    await ready(once(holder.stdout as Readable, 'data'), endOf(holder), 'What holds the faults of the job').catch(
      async (error: unknown) => {
        await lazyPages.abandon();
        throw error;
      },
    );
    return lazyPages;
  }

  /**
   * The restore has succeeded. Resolves when every page of the job is there, and never rejects: where that cannot be, the
   * container ends.
   */
  async fill(): Promise<void> {
    const [daemonEnd, holderEnd] = this.#ends;
    // It ends by itself only when there is nothing left to hold.
    let isFilled = false;
    void holderEnd.then(
      (code) => isFilled || code === 0 || cannotFill(`what holds its faults ended with ${code ?? 'a signal'}`),
    );
    const code = await daemonEnd;
    if (code !== 0) cannotFill(`CRIU's daemon ended with ${code ?? 'a signal'}`);
    isFilled = true;
    // Until its copies are closed, the job waits even for pages that are zeros by right.
    this.#holder.kill('SIGKILL');
    await holderEnd;
  }

  /** The restore has failed: there is no job to be filled. */
  async abandon(): Promise<void> {
    for (const process of [this.#daemon, this.#holder]) process.kill('SIGKILL');
    await Promise.all(this.#ends);
  }
}

function cannotFill(why: string): never {
  process.stderr.write(`floe agent: the memory of the job could not be filled: ${why}\n`);
  process.exit(1);
}

async function ready(sign: Promise<unknown>, end: Promise<number | null>, what: string): Promise<void> {
  const failed = end.then((code) => {
    const remedy = 'Thaw it eagerly, or see what the kernel lacks: CONFIG_USERFAULTFD is needed.';
    throw new FreezerError('restoreFailed', `${what} did not start: it ended with ${code ?? 'a signal'}.`, remedy);
  });
  await Promise.race([sign, failed]);
}
