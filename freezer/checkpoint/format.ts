/**
 * The checkpoint format, version 1. All keys are under the job's prefix.
 *
 *   manifests/<id>.json     the commit: written last, create-only; a checkpoint without it does not exist
 *   index/<id>              zstd of the index's JSON: where every byte of memory, images and files is
 *   packs/<id>-<n>          chunks, one after the other, each compressed by itself
 *
 * An id is `<epoch>-<sequence>`, both padded with zeros, so that the order of ids is the order of checkpoints. No key is ever
 * written twice. A chunk is at most 256 KiB of content, named by its sha256, and may be in any pack that the index lists.
 */
import { z } from 'zod';
import { MOVING_ATTRIBUTE } from './extendedAttributes.ts';

export const FORMAT_VERSION = 1;
export const CHUNK_BYTES = 256 * 1024;

const size = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** A key relative to the job's prefix. */
const relativeKey = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,200}$/);

export const CheckpointId = z.string().regex(/^\d{8}-\d{6}$/);

export const Manifest = z.strictObject({
  version: z.literal(FORMAT_VERSION),
  id: CheckpointId,
  epoch: z.int().min(0),
  /** When the program was stopped: ms since 1970. */
  frozenAt: z.int(),
  criuVersion: z.string(),
  kernel: z.string(),
  architecture: z.string(),
  cpuFeatures: z.array(z.string()),
  runtime: z.string(),
  /** Digest of the container image, for runtimes that have images. */
  image: z.string().nullable(),
  /** The supervisor's process id. */
  rootPid: z.int().positive(),
  logSizes: z.strictObject({ stdout: size, stderr: size }),
  memoryBytes: size,
  fileBytes: size,
  sentBytes: size,
  index: z.strictObject({ key: relativeKey, sizeBytes: size, sha256 }),
});
export type Manifest = z.output<typeof Manifest>;

/** sha256 of the content, pack (-1: all zeros, in no pack), offset and size in the pack, size of the content. */
const Chunk = z.tuple([sha256, z.int().min(-1), size, size, z.int().min(1).max(CHUNK_BYTES)]);
const Chunks = z.array(z.int().min(0));

/** One process's or shared memory object's pages: `chunks`, joined, are the present ranges' pages in order. */
const MemoryObject = z.strictObject({
  /** CRIU's `id << 8 | type`, decimal. */
  object: z.string().regex(/^\d{1,20}$/),
  /** Address (decimal), pages, flags. */
  ranges: z.array(z.tuple([z.string().regex(/^\d{1,20}$/), size, z.int().min(0).max(7)])),
  chunks: Chunks,
});

const Image = z.strictObject({ name: z.string().regex(/^[A-Za-z0-9._-]{1,100}$/), sizeBytes: size, chunks: Chunks });

/** A path below the run's folder of moving files, `/`-separated, that cannot leave it. */
const FilePath = z
  .string()
  .min(1)
  .refine(
    (path) => !path.startsWith('/') && !path.split('/').some((part) => part === '..' || part === '.' || part === ''),
  );

/** Name and value (base64), within the kernel's own bounds. */
const ExtendedAttribute = z.tuple([z.string().max(255).regex(MOVING_ATTRIBUTE), z.base64().max(90_000)]);

const attributes = {
  path: FilePath,
  /** Permission bits, octal 07777. */
  mode: z.int().min(0).max(0o7777),
  uid: size,
  gid: size,
  modifiedAtMs: z.number(),
  xattrs: z.array(ExtendedAttribute).optional(),
};

/** Offset and size of what a sparse file holds: in order, without overlap, so that chunks can be laid in them. */
const DataRanges = z
  .array(z.tuple([size, z.int().min(1)]))
  .refine((ranges) => ranges.every(([offset], at) => offset >= endOf(ranges[at - 1])));

function endOf(range: readonly [number, number] | undefined): number {
  return range ? range[0] + range[1] : 0;
}

const FileEntry = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('directory'), ...attributes }),
  z.strictObject({
    type: z.literal('file'),
    ...attributes,
    sizeBytes: size,
    /** Where a sparse file holds anything; the rest is holes, and so may be parts of these. Absent: everywhere. */
    dataRanges: DataRanges.optional(),
    /** The content of those ranges, one after the other; each range begins with a new chunk. */
    chunks: Chunks,
  }),
  z.strictObject({ type: z.literal('symlink'), ...attributes, target: z.string().min(1) }),
  /** Another name of a file that comes earlier in the list. */
  z.strictObject({ type: z.literal('link'), path: FilePath, target: FilePath }),
  z.strictObject({ type: z.literal('fifo'), ...attributes }),
]);
export type FileEntry = z.output<typeof FileEntry>;

/** `files` has folders before what is in them. What is not in the list is not there after a thaw. */
export const Index = z.strictObject({
  packs: z.array(z.strictObject({ key: relativeKey, sizeBytes: size })),
  chunks: z.array(Chunk),
  memory: z.array(MemoryObject),
  images: z.array(Image),
  files: z.array(FileEntry),
});
export type Index = z.output<typeof Index>;

export const checkpointKeys = {
  manifests: 'manifests/',
  manifest: (id: string) => `manifests/${id}.json`,
  index: (id: string) => `index/${id}`,
  pack: (id: string, number: number) => `packs/${id}-${String(number).padStart(6, '0')}`,
} as const;

export function checkpointId(epoch: number, sequence: number): string {
  return `${String(epoch).padStart(8, '0')}-${String(sequence).padStart(6, '0')}`;
}
