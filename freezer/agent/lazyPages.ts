/**
 * Fills the memory of a job that runs already: the filler (native/fillMemory.c) asks the worker's engine for what the job touches, and in
 * the background for the rest. It stands where `criu lazy-pages` would. That asks for one range at a time and starts again with 64 KiB
 * after each page that the job touches; it never comes to an end when a program unmaps a part of what is on its way, protects it, or
 * unmaps 2 GiB at once; and it writes to memory that it has freed when a process ends meanwhile (criu/uffd.c of CRIU 4.2).
 *
 * The one danger is that the filler dies before it is through: the kernel would take what is missing for zeros, and the job would go
 * on with them. So it is two processes. When the one that works fails, the job waits for pages that do not come until the worker, which
 * is told why, has ended the container; when the other ends before all is filled, the container ends at once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { FreezerError } from '../errors.ts';
import { toolbox } from '../toolbox.ts';
import { endOf } from './criu.ts';
import { places } from './protocol.ts';

/** Where CRIU looks for its daemon: in the working folder, that of the images. */
const SOCKET = join(places.images, 'lazy-pages.socket');

/** For `criu restore`. */
export const LAZY_OPTIONS = ['--lazy-pages'];

/** A container whose job could not be restored ends, and all of this with it. */
export class LazyPages {
  /** Rejects with `FreezerError` `lost` when it fails and the job waits for its pages; else the container ends. */
  readonly filled: Promise<void>;

  private constructor(filled: Promise<void>) {
    this.filled = filled;
    filled.catch(() => undefined); // told to those who wait, and to who guards the restore
  }

  /**
   * Starts the filler, which will ask through `pages`. The restore may come when this resolves. Throws `FreezerError` `failed`: the
   * checkpoint may be all right, and an eager thaw of it, which needs nothing of this, succeed.
   */
  static async start(pages: Socket): Promise<LazyPages> {
    const filler = spawn(toolbox.fillMemory, [SOCKET], { stdio: [pages, 'pipe', 'pipe'] });
    const words = lastLine(filler.stderr);
    const lines = createInterface({ input: filler.stdout });
    const said = async () => ((await once(lines, 'line')) as [string])[0];
    const ended = endOf(filler);
    const first = await Promise.race([said(), ended]).catch((cause: Error) => cause.message);
    // From now on the filler's end is the end of the connection.
    pages.destroy();
    if (first !== 'ready') throw didNotStart(words() || `it says ${first}`);
    const failed = said().then(() => Promise.reject(cannotFill(words())));
    return new LazyPages(Promise.race([failed, ended.then((code) => code === 0 || leave(code))]).then(() => undefined));
  }

  /** Kills a restore that is under way when the filler fails: it could wait for a page for ever. */
  guard(restore: ChildProcess): void {
    this.filled.catch(() => restore.kill('SIGKILL'));
  }
}

/** The job goes on with zeros. */
function leave(code: number | null): never {
  process.stderr.write(`floe agent: what keeps the job waiting for its memory ended with ${code ?? 'a signal'}\n`);
  process.exit(1);
}

function lastLine(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (more: string) => (text = (text + more).slice(-1000)));
  return () => text.trim().split('\n').at(-1) ?? '';
}

function cannotFill(why: string): FreezerError {
  const what = `What fills the memory of the job has failed: ${why || 'it gave no reason'}.`;
  return new FreezerError('lost', what, 'Floe thaws it again.');
}

function didNotStart(why: string): FreezerError {
  const remedy = 'Thaw it eagerly, or see what the kernel lacks: CONFIG_USERFAULTFD is needed.';
  return new FreezerError('failed', `What fills the memory of the job did not start: ${why}.`, remedy);
}
