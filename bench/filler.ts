/** Speaks to the program that is frozen and thawed (programs/filler.c), through the file that it maps. */
import { type FileHandle, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

export type Content = 'compressible' | 'incompressible';

/** Where the program and its state are, inside every container; the folder moves with the job. */
const WORKSPACE = '/workspace';
const PROGRAM = 'filler';
const STATE = 'state';

/** Offsets in the state, and what `kind` may be: as in programs/filler.c. */
const at = {
  request: 0,
  kind: 8,
  answered: 16,
  took: 24,
  wrong: 32,
  base: 40,
  pages: 48,
  pauses: 56,
  ring: 64,
} as const;
const kinds = { change: 1n, sweep: 2n, verify: 3n } as const;
const PAUSES_KEPT = 1000;
const PAUSE_BYTES = 16;
const STATE_BYTES = at.ring + PAUSES_KEPT * PAUSE_BYTES;

/** There is no event for a change in a mapped file. */
const LOOK_EVERY_MS = 2;

/** The program did not run for at least 10 ms. Milliseconds since 1970. */
export interface Pause {
  readonly endedAt: number;
  readonly lengthMs: number;
}

/** Compiles the program into a workspace. Throws `ExecaError` when `cc` fails. */
export async function putFiller(workspace: string): Promise<void> {
  const source = join(import.meta.dirname, 'programs', `${PROGRAM}.c`);
  await execa('cc', ['-static', '-O2', '-pthread', '-o', join(workspace, PROGRAM), source]);
}

export function fillerCommand(sizeBytes: number, content: Content): string[] {
  return [join(WORKSPACE, PROGRAM), join(WORKSPACE, STATE), String(sizeBytes), content];
}

export class Filler implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #pagesFile: string;
  readonly #signal: AbortSignal;

  private constructor(file: FileHandle, pagesFile: string, signal: AbortSignal) {
    this.#file = file;
    this.#pagesFile = pagesFile;
    this.#signal = signal;
  }

  /**
   * Finds the program by its workspace on the host, and resolves once its memory is full. Aborting `signal`, which should happen
   * when the program has ended, ends that and every wait.
   */
  static async find(workspace: string, signal: AbortSignal): Promise<Filler> {
    const path = join(workspace, STATE);
    const file = await openOnceThere(path, signal);
    const filler = new Filler(file, `${path}.pages`, signal);
    await filler.#until(async () => (await filler.#word(at.pages)) > 0n);
    return filler;
  }

  /** Where the memory begins in the program's address space. */
  base(): Promise<bigint> {
    return this.#word(at.base);
  }

  /** Gives these pages new content. */
  async change(pages: readonly number[]): Promise<void> {
    await writeFile(this.#pagesFile, BigUint64Array.from(pages, BigInt));
    await this.#request('change');
    await rm(this.#pagesFile);
  }

  /** Reads a word of every page; throws where one is wrong. Resolves to when it was through, ms since 1970, and how long it took. */
  async sweep(): Promise<{ endedAt: number; tookMs: number }> {
    const tookMs = await this.#request('sweep');
    return { endedAt: Date.now(), tookMs };
  }

  /** Throws where any byte is not what it should be. */
  async verify(): Promise<void> {
    await this.#request('verify');
  }

  /** When it first ran after a moment (ms since 1970) before which it stood still. */
  async firstRanAfter(moment: number): Promise<number> {
    const pause = await this.#until(async () =>
      (await this.#pauses())
        .filter(({ endedAt }) => endedAt >= moment)
        .sort((a, b) => a.endedAt - b.endedAt)
        .at(0),
    );
    return pause.endedAt;
  }

  /** The longest time that it stood still since a moment (ms since 1970), in ms; 0 for none of 10 ms. */
  async longestPauseSince(moment: number): Promise<number> {
    const pauses = (await this.#pauses()).filter(({ endedAt }) => endedAt >= moment);
    return Math.max(0, ...pauses.map(({ lengthMs }) => lengthMs));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  /** Resolves to how long it took, ms. */
  async #request(kind: keyof typeof kinds): Promise<number> {
    const number = (await this.#word(at.answered)) + 1n;
    await this.#write(at.kind, kinds[kind]);
    await this.#write(at.request, number);
    await this.#until(async () => (await this.#word(at.answered)) === number);
    const wrong = await this.#word(at.wrong);
    if (wrong !== 0n) throw new Error(`${wrong} pages of the program's memory are not what they should be`);
    return Number(await this.#word(at.took)) / 1e6;
  }

  async #pauses(): Promise<Pause[]> {
    const bytes = Buffer.alloc(STATE_BYTES);
    await this.#file.read(bytes, 0, bytes.length, 0);
    const count = Math.min(PAUSES_KEPT, Number(bytes.readBigUInt64LE(at.pauses)));
    return Array.from({ length: count }, (_, number) => {
      const offset = at.ring + number * PAUSE_BYTES;
      const [ended, length] = [bytes.readBigUInt64LE(offset), bytes.readBigUInt64LE(offset + 8)];
      return { endedAt: Number(ended) / 1e6, lengthMs: Number(length) / 1e6 };
    });
  }

  async #word(offset: number): Promise<bigint> {
    const bytes = Buffer.alloc(8);
    await this.#file.read(bytes, 0, bytes.length, offset);
    return bytes.readBigUInt64LE();
  }

  async #write(offset: number, value: bigint): Promise<void> {
    await this.#file.write(BigUint64Array.of(value), 0, 8, offset);
  }

  async #until<T>(look: () => Promise<T | false | undefined>): Promise<T> {
    for (;;) {
      const seen = await look();
      if (seen) return seen;
      await delay(LOOK_EVERY_MS, undefined, { signal: this.#signal });
    }
  }
}

async function openOnceThere(path: string, signal: AbortSignal): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await delay(LOOK_EVERY_MS, undefined, { signal });
    }
  }
}
