/**
 * Short hashes of all memory pages of a checkpoint, kept on the machine where its job runs: with them the next freeze knows
 * which pages have changed without asking the store for what was there before, and without the price of a cryptographic hash.
 * A file: a seed of 8 bytes, then 8 bytes for each present page in the order of the index, its XXH64 with that seed, or zeros where
 * nothing is known. Where the file is missing or does not belong to the last checkpoint, whole windows are recognised all the same,
 * by their chunks' ids.
 *
 * A changed page passes for an unchanged one when both have the same 64 bits: once in 2^64 changes of a page. The seed is a secret
 * of the machine's, so that nobody who feeds a job its input can prepare two pages of which it would be so.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { isNoSpace } from '../noSpace.ts';
import { digestPages } from './digestPages.ts';
import { DIGEST_BYTES, PAGE_BYTES } from './sizes.ts';

export { DIGEST_BYTES };

const HEADER_BYTES = 8;
/** Of a file at a time: digests are wanted and found window by window, mostly in their order. */
const BLOCK_BYTES = 64 * 1024;

export class PageDigests implements Disposable {
  readonly seed: bigint;
  readonly #file: number;
  /** What was read last, in one go with what comes after it. */
  readonly #block = { position: 0, bytes: Buffer.alloc(0) };
  /** What is to be written, in one go with what comes after it. */
  readonly #unwritten = { position: 0, bytes: Buffer.alloc(BLOCK_BYTES), fill: 0 };

  private constructor(file: number, seed: bigint) {
    this.#file = file;
    this.seed = seed;
  }

  /** Null where there is no file of this checkpoint with digests of just so many pages. */
  static open(directory: string, checkpointId: string, pages: number): PageDigests | null {
    let file: number;
    try {
      file = openSync(join(directory, checkpointId), 'r');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    }
    const header = Buffer.alloc(HEADER_BYTES);
    const digests = new PageDigests(file, readSync(file, header) === HEADER_BYTES ? header.readBigUInt64LE() : 0n);
    if (fstatSync(file).size === HEADER_BYTES + pages * DIGEST_BYTES) return digests;
    digests[Symbol.dispose]();
    return null;
  }

  /** An empty one, in which every page is unknown; `keepDigests` makes it that of a checkpoint. */
  static create(directory: string, seed: bigint): PageDigests {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = openSync(join(directory, NEW), 'w', 0o600);
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeBigUInt64LE(seed);
    const digests = new PageDigests(file, seed);
    digests.#writeAt(0, header);
    return digests;
  }

  /** So many pages there are, known or not. */
  setPages(pages: number): void {
    ftruncateSync(this.#file, HEADER_BYTES + pages * DIGEST_BYTES);
  }

  /** Fills `into` with the digests of pages from `firstPage` on; pages beyond the end are unknown. */
  read(firstPage: number, into: Buffer): void {
    const position = HEADER_BYTES + firstPage * DIGEST_BYTES;
    const [from, end] = [position - this.#block.position, position + into.length];
    if (from < 0 || end > this.#block.position + this.#block.bytes.length) this.#readBlock(position, into.length);
    const at = position - this.#block.position;
    into.fill(0, this.#block.bytes.copy(into, 0, at, at + into.length));
  }

  /** In the file after `flush`. */
  write(firstPage: number, digests: Uint8Array): void {
    const position = HEADER_BYTES + firstPage * DIGEST_BYTES;
    const { position: begin, fill } = this.#unwritten;
    if (position !== begin + fill || fill + digests.length > BLOCK_BYTES) this.flush();
    if (digests.length > BLOCK_BYTES) {
      this.#writeAt(position, digests);
      return;
    }
    if (this.#unwritten.fill === 0) this.#unwritten.position = position;
    this.#unwritten.bytes.set(digests, this.#unwritten.fill);
    this.#unwritten.fill += digests.length;
  }

  flush(): void {
    const { position, bytes, fill } = this.#unwritten;
    this.#unwritten.fill = 0;
    if (fill > 0) this.#writeAt(position, bytes.subarray(0, fill));
  }

  #readBlock(position: number, leastBytes: number): void {
    const bytes = Buffer.allocUnsafe(Math.max(BLOCK_BYTES, leastBytes));
    const bytesRead = readSync(this.#file, bytes, 0, bytes.length, position);
    this.#block.position = position;
    this.#block.bytes = bytes.subarray(0, bytesRead);
  }

  /**
   * Where the disk has no room, pages stay unknown and are sent once more some day: no reason to lose the freeze or the thaw under way.
   * Nor is what was written in part, which is like no page's digest but by the same chance as any.
   */
  #writeAt(position: number, bytes: Uint8Array): void {
    try {
      writeSync(this.#file, bytes, 0, bytes.length, position);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

const NEW = 'new';

export function newDigestSeed(): bigint {
  return randomBytes(8).readBigUInt64LE();
}

/** Makes the file last created that of a checkpoint; those of others are removed. */
export function keepDigests(directory: string, checkpointId: string): void {
  renameSync(join(directory, NEW), join(directory, checkpointId));
  for (const name of readdirSync(directory)) {
    if (name !== checkpointId) rmSync(join(directory, name));
  }
}

/** Of pages that are all zeros. */
export function zeroDigests(pages: number, seed: bigint): Buffer {
  return Buffer.alloc(pages * DIGEST_BYTES, digestPages(ZERO_PAGE, seed));
}

const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);
