/**
 * Proves that a checkpoint is whole, or says what of it is damaged and whose memory or files that hits. Reads everything
 * that a thaw would read, and puts nothing together.
 */
import pLimit from 'p-limit';
import type { Store } from '../../store/store.ts';
import type { KeyRing } from '../encryption/keyRing.ts';
import { FreezerError } from '../errors.ts';
import type { KnownOfJob } from '../runtime.ts';
import type { Codec } from './codec.ts';
import type { FileEntry, Index, Piece } from './format.ts';
import { CheckpointReader } from './reader.ts';
import { readHoldings } from './retention.ts';

const PACKS_AT_ONCE = 3;
const SHMEM = 2n;

export interface VerifyOptions {
  readonly store: Store;
  /** The job's, as `name`: see `CheckpointPlace`. */
  readonly prefix: string;
  readonly name?: string | undefined;
  readonly known?: KnownOfJob | undefined;
  readonly id: string;
  readonly keyRing: KeyRing;
  readonly codec: Codec;
  readonly signal?: AbortSignal;
  /** Bytes as they are stored. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** `damages`: one sentence each. `hits`: what cannot be had again, such as `file workspace/data`. Both empty for a whole checkpoint. */
export interface Verification {
  readonly id: string;
  readonly packs: number;
  readonly chunks: number;
  readonly storedBytes: number;
  readonly damages: readonly string[];
  readonly hits: readonly string[];
}

/**
 * Resolves for damaged ones too. Rejects with `FreezerError` where nothing can be said: `notFound`, `wrongVersion`, `wrongKey`,
 * `storeFailed`, `cancelled`.
 */
export async function verifyCheckpoint(options: VerifyOptions): Promise<Verification> {
  const { id, codec } = options;
  let reader: CheckpointReader;
  try {
    reader = await CheckpointReader.open(options, id, codec);
  } catch (error) {
    if (!isAtFault(error)) throw error;
    return {
      id,
      packs: 0,
      chunks: 0,
      storedBytes: 0,
      damages: [`${error.message} (${error.code})`],
      hits: ['everything'],
    };
  }
  const { manifest, index } = reader;
  const inPacks = await checkPacks(reader, options);
  const inFiles = fileListFlaws(index.files);
  return {
    id,
    packs: manifest.packs.length,
    chunks: index.chunks.length,
    storedBytes: manifest.packs.reduce((sum, { sizeBytes }) => sum + sizeBytes, manifest.index.sizeBytes),
    damages: [...inPacks.damages, ...inFiles],
    hits: contentsOf(index)
      .filter(({ pieces }) => pieces.some((piece) => inPacks.chunks.has(typeof piece === 'number' ? piece : piece[0])))
      .map(({ name }) => name),
  };
}

interface PackDamages {
  readonly damages: string[];
  /** Numbers of the chunks that cannot be had. */
  readonly chunks: Set<number>;
}

async function checkPacks(reader: CheckpointReader, options: VerifyOptions): Promise<PackDamages> {
  const { store, prefix, signal, onProgress } = options;
  const { packs } = reader.manifest;
  const found: PackDamages = { damages: [], chunks: new Set() };
  const holdings = await readHoldings(store, prefix, signal ? { signal } : {});
  const sizes = new Map(holdings.packs.map(({ key, sizeBytes }) => [key, sizeBytes]));
  const byPack = Map.groupBy(reader.index.chunks.keys(), (number) => reader.index.chunks[number]?.[1] ?? -1);
  const totalBytes = packs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const limit = pLimit(PACKS_AT_ONCE);
  let doneBytes = 0;
  const check = async ({ key, sizeBytes }: (typeof packs)[number], number: number) => {
    const has = sizes.get(prefix + key);
    if (has === undefined) found.damages.push(`${key} is missing.`);
    else if (has !== sizeBytes) found.damages.push(`${key} has ${has} bytes, and not ${sizeBytes}.`);
    const chunks = byPack.get(number) ?? [];
    const damaged = has === undefined ? chunks : await damagedAmong(reader, chunks, signal);
    if (has !== undefined && damaged.length > 0) {
      found.damages.push(`${key}: ${damaged.length} of its ${chunks.length} chunks do not have their content.`);
    }
    for (const each of damaged) found.chunks.add(each);
    doneBytes += sizeBytes;
    onProgress?.(doneBytes, totalBytes);
  };
  await Promise.all(packs.map((pack, number) => limit(check, pack, number)));
  return found;
}

/** The pack as a whole, and where that fails, chunk by chunk. */
async function damagedAmong(reader: CheckpointReader, chunks: readonly number[], signal?: AbortSignal) {
  if (chunks.length === 0) return [];
  try {
    await reader.readChunks(chunks, () => undefined, { signal, planFor: () => [] });
    return [];
  } catch (error) {
    if (!isCorrupt(error)) throw error;
  }
  const damaged: number[] = [];
  for (const number of chunks) {
    try {
      await reader.readChunk(number, signal);
    } catch (error) {
      if (!isCorrupt(error)) throw error;
      damaged.push(number);
    }
  }
  return damaged;
}

interface Content {
  /** `memory of process 1001`, `image core-1001.img`, `file workspace/data` */
  readonly name: string;
  readonly pieces: readonly Piece[];
}

function contentsOf({ memory, images, files }: Index): Content[] {
  return [
    ...memory.map(({ object, pieces }) => ({ name: nameOfMemory(BigInt(object)), pieces })),
    ...images.map(({ name, pieces }) => ({ name: `image ${name}`, pieces })),
    ...files.flatMap((entry) => (entry.type === 'file' ? [{ name: `file ${entry.path}`, pieces: entry.pieces }] : [])),
  ];
}

/** CRIU's `id << 8 | type`. */
function nameOfMemory(object: bigint): string {
  const id = object >> 8n;
  return (object & 0xffn) === SHMEM ? `shared memory ${id}` : `memory of process ${id}`;
}

/** Pure: why these files could not be made in their order. */
export function fileListFlaws(files: readonly FileEntry[]): string[] {
  const problems: string[] = [];
  const types = new Map<string, FileEntry['type']>();
  for (const entry of files) {
    const cut = entry.path.lastIndexOf('/');
    const folder = types.get(entry.path.slice(0, Math.max(cut, 0)));
    if (types.has(entry.path)) problems.push(`The list of files has ${entry.path} twice.`);
    if (cut > 0 && folder !== 'directory') problems.push(`The list of files has ${entry.path} without its folder.`);
    if (entry.type === 'link' && types.get(entry.target) !== 'file')
      problems.push(`The list of files has ${entry.path}, a link to ${entry.target}, which is no file before it.`);
    types.set(entry.path, entry.type);
  }
  return problems;
}

/** It is not whole, or not what was taken. */
function isAtFault(error: unknown): error is FreezerError {
  return error instanceof FreezerError && ['corrupt', 'substituted', 'otherStore'].includes(error.code);
}

function isCorrupt(error: unknown): error is FreezerError {
  return error instanceof FreezerError && error.code === 'corrupt';
}
