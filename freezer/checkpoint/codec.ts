/**
 * From content to stored chunks, and back. The heavy work of the engine: it is done in threads, several batches at a time, by
 * native/codec.c where the toolbox has it, and by Node's own modules (plainCodec.ts), one after the other and three times as
 * slow, where there is no toolbox: to verify a checkpoint nobody needs one.
 */
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import { CodecAddon } from './codecAddon.ts';
import type { Content } from './content.ts';
import { plainCodec } from './plainCodec.ts';
import type { Write } from './writePlan.ts';

/** What a chunk's id and its seal are made with. */
export interface ChunkKeys {
  readonly identity: Uint8Array;
  readonly encryption: Uint8Array;
}

/** What to find out about content of at most `CHUNK_BYTES`, besides whether it is all zeros. */
export interface Question {
  readonly content: Content;
  /** Of its pages. */
  readonly digests: boolean;
  /** What the chunk is stored as, and its id. */
  readonly stored: boolean;
}

export interface ExamineRequest {
  readonly questions: readonly Question[];
  /** Null where nothing is encrypted. */
  readonly keys: ChunkKeys | null;
  /** See pageDigests.ts. */
  readonly digestSeed: bigint;
}

/** What was found out; what was not asked for is empty. Nothing is stored of zeros. */
export interface Finding {
  readonly isZero: boolean;
  readonly digests: Uint8Array;
  /** Hexadecimal; empty where `stored` is. */
  readonly id: string;
  readonly stored: Uint8Array;
}

/** One for each question. Their bytes are used again when this is disposed of. */
export interface Examined extends Disposable {
  readonly findings: readonly Finding[];
}

export interface StoredChunk {
  readonly id: string;
  /** Where it begins in the bytes that hold it. */
  readonly offset: number;
  readonly storedBytes: number;
  readonly contentBytes: number;
  /** Where its content is to be written; absent when it is to be handed back. */
  readonly writes?: readonly Write[];
}

export interface UnpackRequest {
  readonly bytes: Uint8Array;
  readonly chunks: readonly StoredChunk[];
  /** Null where nothing is encrypted. */
  readonly keys: ChunkKeys | null;
  /** Null where nobody wants digests. */
  readonly digestSeed: bigint | null;
  /** Gives memory of just this size for what is handed back; absent for new memory. */
  readonly memoryFor?: MemoryFor | undefined;
}

export type MemoryFor = (sizeBytes: number) => Uint8Array;

/** Contents to hand back and the digests of all pages, one after the other, in one piece of memory; or `damaged`, the first chunk that did not verify. */
export interface Unpacked {
  readonly contents: Uint8Array;
  readonly digests: Uint8Array;
  readonly damaged: number | null;
}

/** Both reject with what the file system says, where content is in files or goes there. */
export interface Coding {
  examine(request: ExamineRequest): Promise<Examined>;
  unpack(request: UnpackRequest): Promise<Unpacked>;
}

export class Codec implements Coding {
  /** How many batches are worked on at a time. */
  readonly count: number;
  readonly #coding: Coding;
  readonly #limit: ReturnType<typeof pLimit>;

  /**
   * @param toolboxDirectory null, or one without the addon, for the slow way
   * @param count by default the number of cores, at most 4: CRIU hands pages over no faster than so many compress them
   */
  constructor(toolboxDirectory: string | null, count = Math.min(4, availableParallelism())) {
    this.count = count;
    this.#coding = (toolboxDirectory === null ? null : CodecAddon.open(toolboxDirectory)) ?? plainCodec;
    this.#limit = pLimit(count);
  }

  examine(request: ExamineRequest): Promise<Examined> {
    return this.#limit(() => this.#coding.examine(request));
  }

  unpack(request: UnpackRequest): Promise<Unpacked> {
    return this.#limit(() => this.#coding.unpack(request));
  }
}
