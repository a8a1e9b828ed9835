/** The codec by native/codec.c, which the toolbox has compiled: here content and answers are put into the form that it takes. */
import { loadAddon } from '../addon.ts';
import type {
  ChunkKeys,
  Coding,
  Examined,
  ExamineRequest,
  Finding,
  Question,
  StoredChunk,
  Unpacked,
  UnpackRequest,
} from './codec.ts';
import { type ContentPart, sizeOf } from './content.ts';
import { COMPRESSION_LEVEL, digestBytesOf } from './sizes.ts';

/** As native/codec.c describes it. */
type Call = (
  plan: Float64Array,
  memory: readonly Uint8Array[],
  ids: Uint8Array | null,
  identityKey: Uint8Array | null,
  encryptionKey: Uint8Array | null,
  seed: bigint,
  level: number,
  output: Uint8Array,
) => Promise<number>;

interface Addon {
  readonly examine: Call;
  readonly unpack: Call;
}

const ID_BYTES = 32;
const HEAD = { storedSizeAt: 4, idAt: 8, bytes: 8 + ID_BYTES };
/** What is stored is longer than its content by no more than this and 1/256: zstd's bound, and a seal. */
const MOST_LONGER_BYTES = 64 + 28;
/** Enough for an ordinary batch. */
const OUTPUT_BYTES = 2.5 * 2 ** 20;
const NOTHING = new Uint8Array();

export class CodecAddon implements Coding {
  readonly #addon: Addon;
  /** Outputs that are in nobody's hands. */
  readonly #outputs: Buffer[] = [];

  private constructor(addon: Addon) {
    this.#addon = addon;
  }

  /** Null where this Node cannot load one. */
  static open(toolboxDirectory: string): CodecAddon | null {
    const addon = loadAddon<Addon>(toolboxDirectory, 'codec');
    return addon && new CodecAddon(addon);
  }

  async examine({ questions, keys, digestSeed }: ExamineRequest): Promise<Examined> {
    const output = this.#takeOutput(mostBytes(questions));
    const { plan, memory } = planOf(questions);
    await this.#addon.examine(plan, memory, null, ...both(keys), digestSeed, COMPRESSION_LEVEL, output);
    return {
      findings: findingsOf(questions, output),
      [Symbol.dispose]: () => {
        if (output.length === OUTPUT_BYTES) this.#outputs.push(output);
      },
    };
  }

  async unpack({ bytes, chunks, keys, digestSeed, memoryFor = newMemory }: UnpackRequest): Promise<Unpacked> {
    const digestBytes =
      digestSeed === null ? 0 : chunks.reduce((sum, chunk) => sum + digestBytesOf(chunk.contentBytes), 0);
    const output = memoryFor(
      chunks.reduce((sum, { writes, contentBytes }) => sum + (writes ? 0 : contentBytes), digestBytes),
    );
    const ids = Buffer.from(chunks.map(({ id }) => id).join(''), 'hex');
    const plan = Float64Array.from([digestBytes, chunks.length, ...chunks.flatMap(unpackPlan)]);
    const damaged = await this.#addon.unpack(
      plan,
      [bytes],
      ids,
      ...both(keys),
      digestSeed ?? 0n,
      COMPRESSION_LEVEL,
      output,
    );
    return {
      digests: output.subarray(0, digestBytes),
      contents: output.subarray(digestBytes),
      damaged: damaged < 0 ? null : damaged,
    };
  }

  /** One that fails is not given back: it may still be written to. */
  #takeOutput(sizeBytes: number): Buffer {
    if (sizeBytes > OUTPUT_BYTES) return Buffer.allocUnsafeSlow(sizeBytes);
    return this.#outputs.pop() ?? Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  }
}

function newMemory(sizeBytes: number): Uint8Array {
  return Buffer.allocUnsafeSlow(sizeBytes);
}

function both(keys: ChunkKeys | null): [Uint8Array | null, Uint8Array | null] {
  return [keys?.identity ?? null, keys?.encryption ?? null];
}

function mostBytes(questions: readonly Question[]): number {
  return questions.reduce((sum, { content, digests, stored }) => {
    const size = sizeOf(content);
    const storedBytes = stored ? size + Math.ceil(size / 256) + MOST_LONGER_BYTES : 0;
    return sum + HEAD.bytes + (digests ? digestBytesOf(size) : 0) + storedBytes;
  }, 0);
}

function planOf(questions: readonly Question[]): { plan: Float64Array; memory: Uint8Array[] } {
  const memory: Uint8Array[] = [];
  const source = (part: ContentPart) =>
    part instanceof Uint8Array ? [-memory.push(part), 0, part.length] : [part.file, part.offset, part.length];
  const numbers = questions.flatMap(({ content, digests, stored }) => [
    ...[Number(digests), Number(stored), content.length],
    ...content.flatMap(source),
  ]);
  return { plan: Float64Array.from([questions.length, ...numbers]), memory };
}

function unpackPlan({ offset, storedBytes, contentBytes, writes }: StoredChunk): number[] {
  return [offset, storedBytes, contentBytes, writes?.length ?? -1, ...(writes?.flat() ?? [])];
}

function findingsOf(questions: readonly Question[], output: Buffer): Finding[] {
  let at = questions.length * HEAD.bytes;
  const take = (sizeBytes: number) => {
    at += sizeBytes;
    return sizeBytes === 0 ? NOTHING : output.subarray(at - sizeBytes, at);
  };
  return questions.map(({ content, digests }, number) => {
    const head = number * HEAD.bytes;
    const storedBytes = output.readUInt32LE(head + HEAD.storedSizeAt);
    return {
      isZero: output[head] === 1,
      digests: take(digests ? digestBytesOf(sizeOf(content)) : 0),
      id: storedBytes === 0 ? '' : output.toString('hex', head + HEAD.idAt, head + HEAD.bytes),
      stored: take(storedBytes),
    };
  });
}
