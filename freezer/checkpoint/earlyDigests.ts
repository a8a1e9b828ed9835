/**
 * Digests of pages while CRIU still writes them to images: one processor is CRIU's, and one thread keeps up with it on another. When
 * the dump is over most pages are known by them, and what is as the base had it need not be read again.
 *
 * Nothing depends on it. What it has not come to is digested with all the rest, later, and whatever fails here fails again there,
 * and is told. To which addresses pages belong, only the pagemaps say, which CRIU finishes last.
 */
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setInterval } from 'node:timers/promises';
import { isPagesName } from '../criu/pagemap.ts';
import type { Codec } from './codec.ts';
import type { Content } from './content.ts';
import { CHUNK_BYTES, PAGE_BYTES } from './format.ts';
import { DIGEST_BYTES } from './pageDigests.ts';
import { OPEN_IMAGE } from './pageImages.ts';

/** Digested in one go. */
const STEP_BYTES = 8 * CHUNK_BYTES;
/** Most that is digested early: what is known of it then takes 64 MiB. */
const MOST_STEPS = (32 * 2 ** 30) / STEP_BYTES;
/** Nothing tells that a file has grown by splice(2), which is how CRIU writes it. */
const LOOK_EVERY_MS = 5;

interface GrowingFile {
  readonly handle: FileHandle;
  /** The digests of its pages, so many as a step has each. */
  readonly steps: Uint8Array[];
}

export class EarlyDigests implements AsyncDisposable {
  readonly #directory: string;
  readonly #codec: Codec;
  readonly #seed: bigint;
  readonly #files = new Map<string, GrowingFile>();
  readonly #stop = new AbortController();
  readonly #followed: Promise<void>;
  #stepsLeft = MOST_STEPS;

  /** Follows the images in a folder that CRIU is about to dump to. */
  constructor(directory: string, codec: Codec, seed: bigint) {
    this.#directory = directory;
    this.#codec = codec;
    this.#seed = seed;
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
  digestsOf(content: Content): Uint8Array | null {
    const digests: Uint8Array[] = [];
    for (const part of content) {
      const steps = part instanceof Uint8Array ? undefined : this.#stepsOf(part.file);
      if (part instanceof Uint8Array || !steps) return null;
      const end = part.offset + part.length;
      for (let at = part.offset; at < end; ) {
        const number = Math.floor(at / STEP_BYTES);
        const [stepAt, stepEnd] = [number * STEP_BYTES, Math.min((number + 1) * STEP_BYTES, end)];
        const step = steps[number];
        if (!step) return null;
        digests.push(step.subarray(digestAt(at - stepAt), digestAt(stepEnd - stepAt)));
        at = stepEnd;
      }
    }
    return digests.length === 1 ? (digests[0] as Uint8Array) : Buffer.concat(digests);
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
    const file = { handle: await open(join(this.#directory, name), OPEN_IMAGE), steps: [] };
    this.#files.set(name, file);
    return file;
  }

  /** As far as it has grown. CRIU only ever appends to it. */
  async #followFile({ handle, steps }: GrowingFile): Promise<void> {
    const { size } = await handle.stat();
    while ((steps.length + 1) * STEP_BYTES <= size && this.#stepsLeft > 0 && !this.#stop.signal.aborted) {
      this.#stepsLeft--;
      steps.push(await this.#digest(handle.fd, steps.length * STEP_BYTES));
    }
  }

  async #digest(file: number, offset: number): Promise<Uint8Array> {
    const questions = Array.from({ length: STEP_BYTES / CHUNK_BYTES }, (_, at) => ({
      content: [{ file, offset: offset + at * CHUNK_BYTES, length: CHUNK_BYTES }],
      ...{ digests: true, stored: false },
    }));
    using examined = await this.#codec.examine({ questions, keys: null, digestSeed: this.#seed });
    return Buffer.concat(examined.findings.map(({ digests }) => digests));
  }

  #stepsOf(descriptor: number): readonly Uint8Array[] | undefined {
    for (const { handle, steps } of this.#files.values()) if (handle.fd === descriptor) return steps;
    return undefined;
  }
}

function digestAt(offset: number): number {
  return (offset / PAGE_BYTES) * DIGEST_BYTES;
}
