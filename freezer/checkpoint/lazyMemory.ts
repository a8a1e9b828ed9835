/**
 * Memory that need not be there when a program starts: the pages that CRIU has flagged as lazy, of processes; what they share
 * is never lazy. The rest goes into CRIU's images as ever.
 */
import { PageFlags } from '../criu/pageServer.ts';
import { type Index, PAGE_BYTES } from './format.ts';
import { corrupt } from './openCheckpoint.ts';
import { type Part, partOf } from './pieces.ts';

type MemoryObject = Index['memory'][number];

const PROCESS = 1n;

/** The lazy pages of one process, as stretches that are one in memory and one in a chunk, by rising address; in columns, as there are many. */
export interface LazyMemory {
  /** Its id in the container. */
  readonly process: number;
  readonly addresses: Float64Array;
  readonly sizes: Uint32Array;
  /** -1 for zeros. */
  readonly chunks: Int32Array;
  readonly offsets: Uint32Array;
}

/** `index` without the content of lazy pages, whose ranges are still told, as lazy and not present. */
export function takeLazyMemory(checkpointId: string, index: Index): { index: Index; lazy: LazyMemory[] } {
  const lazy: LazyMemory[] = [];
  const memory = index.memory.map((object) => {
    const id = BigInt(object.object);
    if ((id & 0xffn) !== PROCESS) return object;
    const split = splitObject(object, new PartReader(checkpointId, object, index));
    lazy.push({ process: Number(id >> 8n), ...split.stretches.inOrder(checkpointId) });
    return split.eager;
  });
  return { index: { ...index, memory }, lazy: lazy.filter(({ sizes }) => sizes.length > 0) };
}

/** Bytes of all that is lazy in a process. */
export function lazyBytes({ sizes }: LazyMemory): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Bytes of what is not all zeros. */
export function missingBytes(lazy: readonly LazyMemory[]): number {
  return lazy.reduce(
    (sum, { sizes, chunks }) => sizes.reduce((bytes, size, at) => ((chunks[at] ?? -1) < 0 ? bytes : bytes + size), sum),
    0,
  );
}

function splitObject(object: MemoryObject, parts: PartReader): { eager: MemoryObject; stretches: Stretches } {
  const eager: MemoryObject = { object: object.object, ranges: [], pieces: [] };
  // Each ends with a piece or with a range.
  const stretches = new Stretches(object.pieces.length + object.ranges.length);
  for (const [address, pages, flags] of object.ranges) {
    if (!(flags & PageFlags.present)) {
      eager.ranges.push([address, pages, flags]);
    } else if (flags & PageFlags.lazy) {
      eager.ranges.push([address, pages, PageFlags.lazy]);
      let at = Number(address);
      parts.take(pages * PAGE_BYTES, (part) => {
        stretches.add(at, part);
        at += part.sizeBytes;
      });
    } else {
      eager.ranges.push([address, pages, flags]);
      parts.take(pages * PAGE_BYTES, ({ chunk, offset, sizeBytes }) => {
        eager.pieces.push([chunk ?? -1, offset, sizeBytes]);
      });
    }
  }
  return { eager, stretches };
}

/** An object's content, taken from the beginning in portions of any size. */
class PartReader {
  readonly #checkpointId: string;
  readonly #object: MemoryObject;
  readonly #index: Index;
  #next = 0;
  #rest: Part | null = null;

  constructor(checkpointId: string, object: MemoryObject, index: Index) {
    this.#checkpointId = checkpointId;
    this.#object = object;
    this.#index = index;
  }

  take(sizeBytes: number, onPart: (part: Part) => void): void {
    for (let left = sizeBytes; left > 0; ) {
      const part = this.#rest ?? this.#part();
      const taken = Math.min(left, part.sizeBytes);
      const { chunk, offset } = part;
      this.#rest = taken < part.sizeBytes ? { chunk, offset: offset + taken, sizeBytes: part.sizeBytes - taken } : null;
      left -= taken;
      onPart({ chunk, offset, sizeBytes: taken });
    }
  }

  #part(): Part {
    const piece = this.#object.pieces[this.#next++];
    const part = piece === undefined ? undefined : partOf(piece, this.#index.chunks);
    if (part && part.sizeBytes > 0) return part;
    throw corrupt(this.#checkpointId, `content of memory object ${this.#object.object} is missing`);
  }
}

/** Columns in the making: a program waits for them that is not yet there, and columns made of objects take three times as long. */
class Stretches {
  readonly #addresses: Float64Array;
  readonly #sizes: Uint32Array;
  readonly #chunks: Int32Array;
  readonly #offsets: Uint32Array;
  #count = 0;

  constructor(most: number) {
    this.#addresses = new Float64Array(most);
    this.#sizes = new Uint32Array(most);
    this.#chunks = new Int32Array(most);
    this.#offsets = new Uint32Array(most);
  }

  add(address: number, { chunk, offset, sizeBytes }: Part): void {
    const at = this.#count++;
    this.#addresses[at] = address;
    this.#sizes[at] = sizeBytes;
    this.#chunks[at] = chunk ?? -1;
    this.#offsets[at] = offset;
  }

  inOrder(checkpointId: string): Omit<LazyMemory, 'process'> {
    const addresses = this.#addresses.subarray(0, this.#count);
    const isRising = addresses.every((address, at) => at === 0 || address > (addresses[at - 1] ?? 0));
    if (!isRising || !Number.isSafeInteger(addresses.at(-1) ?? 0))
      throw corrupt(checkpointId, 'its memory is not in order');
    return {
      addresses,
      sizes: this.#sizes.subarray(0, this.#count),
      chunks: this.#chunks.subarray(0, this.#count),
      offsets: this.#offsets.subarray(0, this.#count),
    };
  }
}
