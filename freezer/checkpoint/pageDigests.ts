/**
 * Short hashes of all memory pages of a checkpoint, kept on the machine where its job runs: with them the next freeze knows
 * which pages have changed without asking the store for what was there before, and without the price of a cryptographic hash.
 * A file, 8 bytes for each present page in the order of the index: its XXH64; zeros where nothing is known. Where the file is
 * missing or does not belong to the last checkpoint, whole windows are recognised all the same, by their chunks' ids.
 *
 * A changed page passes for an unchanged one when both have the same 64 bits: once in 2^64 changes of a page. No other job's
 * pages are ever compared, so there is nothing to win by making two pages with the same digest.
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

export const DIGEST_BYTES = 8;

export class PageDigests implements Disposable {
  readonly #file: number;

  private constructor(file: number) {
    this.#file = file;
  }

  /** Null where there is no file of this checkpoint with digests of just so many pages. */
  static open(directory: string, checkpointId: string, pages: number): PageDigests | null {
    try {
      const digests = new PageDigests(openSync(join(directory, checkpointId), 'r'));
      if (fstatSync(digests.#file).size === pages * DIGEST_BYTES) return digests;
      digests[Symbol.dispose]();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
    return null;
  }

  /** An empty one, in which every page is unknown; `finish` makes it that of a checkpoint. */
  static create(directory: string): PageDigests {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return new PageDigests(openSync(join(directory, NEW), 'w', 0o600));
  }

  /** Fills `into` with the digests of pages from `firstPage` on; pages beyond the end are unknown. */
  read(firstPage: number, into: Buffer): void {
    const bytesRead = readSync(this.#file, into, 0, into.length, firstPage * DIGEST_BYTES);
    into.fill(0, bytesRead);
  }

  write(firstPage: number, digests: Uint8Array): void {
    writeSync(this.#file, digests, 0, digests.length, firstPage * DIGEST_BYTES);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

const NEW = 'new';

/** Makes the file last created that of a checkpoint; those of others are removed. */
export function keepDigests(directory: string, checkpointId: string): void {
  renameSync(join(directory, NEW), join(directory, checkpointId));
  for (const name of readdirSync(directory)) {
    if (name !== checkpointId) rmSync(join(directory, name));
  }
}

/** Of pages that are all zeros. */
export function zeroDigests(pages: number): Buffer {
  return Buffer.alloc(pages * DIGEST_BYTES, ZERO_DIGEST);
}

/** XXH64 of 4096 zeros. */
const ZERO_DIGEST = Buffer.from('dbbbd8326f9b86ac', 'hex');
