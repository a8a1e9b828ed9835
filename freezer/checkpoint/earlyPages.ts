/**
 * Looks at pages while CRIU still writes them to images: one processor is CRIU's, and one thread keeps up with it on another. Where there
 * is a base, pages are digested: when the dump is over most are known, and what is as the base had it need not be read again. Where
 * there is none they are all new: they are stored, and when the dump is over there is less to do.
 *
 * To which addresses pages belong, only the pagemaps say, which CRIU finishes last: so what is stored here are chunks of the image, and a
 * window of the address space is parts of two of them.
 *
 * Nothing depends on it. What it has not come to is looked at with all the rest, later, and whatever fails here fails again there,
 * and is told.
 */
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setInterval } from 'node:timers/promises';
import { isPagesName } from '../criu/pagemap.ts';
import type { ChunkWriter } from './chunkWriter.ts';
import type { Finding } from './codec.ts';
import type { Content, FilePart } from './content.ts';
import { CHUNK_BYTES, PAGE_BYTES } from './format.ts';
import { DIGEST_BYTES } from './pageDigests.ts';
import { OPEN_IMAGE } from './pageImages.ts';
import type { Part } from './pieces.ts';

/** Looked at in one go. */
const STEP_BYTES = 8 * CHUNK_BYTES;
/** Most that is digested early: what is known of it then takes 64 MiB. */
const MOST_STEPS = (32 * 2 ** 30) / STEP_BYTES;
/** Nothing tells that a file has grown by splice(2), which is how CRIU writes it. */
const LOOK_EVERY_MS = 5;
/** CRIU has one, the codec one. On fewer nothing is sent while the program stands still, or it would do so for longer. */
const CORES_TO_SEND = 3;

/** Of `CHUNK_BYTES` of an image. */
interface Seen {
  readonly digests: Uint8Array;
  /** Null where it was only digested; its `chunk` is null for zeros. */
  readonly part: Part | null;
}

interface GrowingFile {
  readonly handle: FileHandle;
  /** From its beginning, without a gap. */
  readonly seen: Seen[];
}

export class EarlyPages implements AsyncDisposable {
  readonly #directory: string;
  readonly #writer: ChunkWriter;
  readonly #isToStore: boolean;
  readonly #files = new Map<string, GrowingFile>();
  readonly #stop = new AbortController();
  readonly #followed: Promise<void>;
  #stepsLeft = MOST_STEPS;

  /** Follows the images in a folder that CRIU is about to dump to. The writer has nothing else to do until this has stopped. */
  constructor(directory: string, writer: ChunkWriter, { isToStore }: { isToStore: boolean }) {
    this.#directory = directory;
    this.#writer = writer;
    this.#isToStore = isToStore;
    if (availableParallelism() < CORES_TO_SEND) writer.holdBack();
    this.#followed = this.#follow().catch(() => undefined);
  }

  /** Resolves when it follows the images no more: to be called when they are all there. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#followed;
  }

  /** An image that is open here, and stays so until this is disposed of. */
  handleOf(name: string): FileHandle | undefined {
    return this.#files.get(name)?.handle;
  }

  /** The digests of whole pages, which are in images that are open here; null where they are not all known. */
  digestsOf(pages: Content): Uint8Array | null {
    const digests = this.#lookUp(pages, ({ digests }, from, to) => digests.subarray(digestAt(from), digestAt(to)));
    return digests && (digests.length === 1 ? (digests[0] as Uint8Array) : Buffer.concat(digests));
  }

  /** Where whole pages are stored already, one part after the other; null where they are not all. */
  partsOf(pages: Content): Part[] | null {
    if (!this.#isToStore) return null;
    return this.#lookUp(pages, ({ part }, from, to) => {
      const [offset, sizeBytes] = part?.chunk === null ? [0, to - from] : [from, to - from];
      return { chunk: part?.chunk ?? null, offset, sizeBytes };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Promise.all([...this.#files.values()].map(({ handle }) => handle.close()));
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    for await (const _ of setInterval(LOOK_EVERY_MS, undefined, { signal })) {
      for (const name of await readdir(this.#directory)) {
        if (isPagesName(name)) await this.#followFile(await this.#fileOf(name));
      }
    }
  }

  async #fileOf(name: string): Promise<GrowingFile> {
    const known = this.#files.get(name);
    if (known) return known;
    const file = { handle: await open(join(this.#directory, name), OPEN_IMAGE), seen: [] };
    this.#files.set(name, file);
    return file;
  }

  /** As far as it has grown. CRIU only ever appends to it. */
  async #followFile({ handle, seen }: GrowingFile): Promise<void> {
    const { size } = await handle.stat();
    while (seen.length * CHUNK_BYTES + STEP_BYTES <= size && this.#mayGoOn) {
      this.#stepsLeft--;
      seen.push(...(await this.#look(handle.fd, seen.length * CHUNK_BYTES)));
    }
  }

  /** Where packs are full compressing would go on only when the dump is over. */
  get #mayGoOn(): boolean {
    return this.#stepsLeft > 0 && !this.#stop.signal.aborted && !(this.#isToStore && this.#writer.arePacksFull);
  }

  async #look(file: number, offset: number): Promise<Seen[]> {
    const seen: Seen[] = [];
    for (let at = 0; at < STEP_BYTES; at += CHUNK_BYTES) {
      const content = [{ file, offset: offset + at, length: CHUNK_BYTES }];
      this.#writer.examine(content, { digests: true, stored: this.#isToStore }, (finding) => {
        seen.push({ digests: Uint8Array.from(finding.digests), part: this.#store(content, finding) });
      });
    }
    await this.#writer.allExamined();
    return seen;
  }

  #store(content: Content, finding: Finding): Part | null {
    if (!this.#isToStore) return null;
    const chunk = finding.isZero ? null : this.#writer.store(content, finding);
    return { chunk, offset: 0, sizeBytes: CHUNK_BYTES };
  }

  /** What `take` gives for each part of the pages that is of one thing seen, from and to offsets in that. */
  #lookUp<T>(pages: Content, take: (seen: Seen, from: number, to: number) => T): T[] | null {
    const found: T[] = [];
    for (const part of pages) {
      const seen = part instanceof Uint8Array ? undefined : this.#seenOf(part.file);
      if (part instanceof Uint8Array || !seen) return null;
      for (const [number, from, to] of cut(part)) {
        const one = seen[number];
        if (!one) return null;
        found.push(take(one, from, to));
      }
    }
    return found;
  }

  #seenOf(descriptor: number): readonly Seen[] | undefined {
    for (const { handle, seen } of this.#files.values()) if (handle.fd === descriptor) return seen;
    return undefined;
  }
}

/** At multiples of the chunk size in the file: number, and from where to where in that. */
function* cut({ offset, length }: FilePart): Generator<[number: number, from: number, to: number]> {
  for (let at = offset; at < offset + length; ) {
    const number = Math.floor(at / CHUNK_BYTES);
    const from = at - number * CHUNK_BYTES;
    const to = Math.min(CHUNK_BYTES, from + offset + length - at);
    yield [number, from, to];
    at += to - from;
  }
}

function digestAt(offset: number): number {
  return (offset / PAGE_BYTES) * DIGEST_BYTES;
}
