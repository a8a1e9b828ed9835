/** Memory on its way out: CRIU's page stream, cut into chunks at fixed addresses. */
import type { PageSink } from '../criu/pageServer.ts';
import type { ChunkWriter } from './chunkWriter.ts';
import { CHUNK_BYTES, type Index } from './format.ts';

type MemoryObject = Index['memory'][number];

const WINDOW = BigInt(CHUNK_BYTES);

/**
 * Cuts at multiples of the chunk size in the *address space*, not in the stream: a page that appears or goes away
 * changes one chunk and leaves all others what they were, which is what makes the next checkpoint small.
 */
export class MemoryWriter implements PageSink {
  readonly objects: MemoryObject[] = [];
  readonly #writer: ChunkWriter;
  #current: MemoryObject | undefined;
  #window = -1n;

  constructor(writer: ChunkWriter) {
    this.#writer = writer;
  }

  open(object: bigint): void {
    this.#current = { object: String(object), ranges: [], chunks: [] };
    this.objects.push(this.#current);
    this.#window = -1n;
  }

  range(_object: bigint, address: bigint, pages: number, flags: number): void {
    this.#current?.ranges.push([String(address), pages, flags]);
  }

  data(address: bigint, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const here = address + BigInt(at);
      const window = here / WINDOW;
      if (window !== this.#window) {
        this.#window = window;
        this.#current?.chunks.push(this.#writer.beginChunk());
      }
      const room = Number(WINDOW - (here % WINDOW));
      const taken = Math.min(room, bytes.length - at);
      this.#writer.append(bytes.subarray(at, at + taken));
      at += taken;
    }
  }

  close(): void {
    this.#current = undefined;
  }
}
