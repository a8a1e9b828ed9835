/** Shows what a program writes, as it is written. The log files only grow, and are their own buffer. */
import { isatty } from 'node:tty';
import { TerminalFilter } from '../../base/terminal.ts';
import { LogFile } from '../run/logFile.ts';
import type { Run } from '../runtime.ts';
import { FILE_DESCRIPTORS, type Stream, writeOut } from './output.ts';

const READ_BYTES = 64 * 1024;

/** A thawed program's output goes on where its checkpoint was taken: that much was shown before. */
export class Relay {
  readonly #finish = new AbortController();
  readonly #done: Promise<unknown>;
  readonly #raw: boolean;

  /** A terminal gets text and colours only, unless `raw`; everything else gets each byte. */
  constructor(run: Run, { raw }: { raw: boolean }) {
    this.#raw = raw;
    this.#done = Promise.all([this.#follow(run, 'stdout'), this.#follow(run, 'stderr')]);
    this.#done.catch(() => undefined); // told by `finish`
  }

  /** Resolves when all that is in the logs has been written. Rejects when a log cannot be read. */
  async finish(): Promise<void> {
    this.#finish.abort();
    await this.#done;
  }

  async #follow(run: Run, stream: Stream): Promise<void> {
    await using log = await LogFile.open(run.logs[stream], this.#finish.signal);
    const filter = isatty(FILE_DESCRIPTORS[stream]) && !this.#raw ? new TerminalFilter() : null;
    const show = (bytes: Uint8Array) => writeOut(stream, filter ? Buffer.from(filter.push(bytes)) : bytes);
    let offsetBytes = run.logStart[stream];
    for (;;) {
      const isLast = this.#finish.signal.aborted;
      const bytes = await log.readAt(offsetBytes, READ_BYTES);
      offsetBytes += bytes.length;
      if (bytes.length > 0) await show(bytes);
      else if (isLast) return filter ? writeOut(stream, Buffer.from(filter.end())) : undefined;
      else await log.changes();
    }
  }
}
