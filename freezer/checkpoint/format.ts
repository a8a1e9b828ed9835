/**
 * The checkpoint format, versions 3 and 4; docs/format.md describes it for those who write another reader. All keys are under the
 * job's prefix.
 *
 *   manifests/<id>.json     the commit: written last, create-only; a checkpoint without it does not exist
 *   index/<id>              zstd of the index's JSON: where every byte of memory, images and files is
 *   packs/<id>-<n>          chunks, one after the other, each compressed by itself
 *
 * An id is `<epoch>-<sequence>`, both padded with zeros, so that the order of ids is the order of checkpoints. No key is ever
 * written twice. An index refers to packs of earlier checkpoints too: what the job's last checkpoint had is not sent again.
 * Where there is a key, index and chunks are sealed (encryption/seal.ts) and the manifest is authenticated.
 */
import { z } from 'zod';

import { MOVING_ATTRIBUTE } from './extendedAttributes.ts';
import { CHUNK_BYTES } from './sizes.ts';

/** Of checkpoints that are not encrypted. Encrypted ones that older versions of Floe wrote have it too. */
export const PLAIN_VERSION = 3;
/** Of encrypted ones: their manifests say for which store they are. */
export const BOUND_VERSION = 4;
export { CHUNK_BYTES, PAGE_BYTES } from './sizes.ts';

/** Most bytes of a pack; writers begin another one long before. */
export const MOST_PACK_BYTES = 64 * 2 ** 20;
/** Most bytes of an index, as it is stored and as JSON: a 64 GiB job's has about 30 MB. */
export const MOST_INDEX_BYTES = 256 * 2 ** 20;

/** Most bytes of a manifest: it names the packs, of which a job of a TiB has some 70,000, in 70 bytes each. */
export const MOST_MANIFEST_BYTES = 16 * 2 ** 20;
/** And most objects and lists in it: one for each pack, and a few. */
export const MOST_MANIFEST_CONTAINERS = 250_000;
/** Of all manifests of a job together. Who reads them keeps them in memory. */
export const MOST_MANIFESTS_BYTES = 128 * 2 ** 20;
export const MOST_MANIFESTS = 10_000;

const size = z.int().min(0);
const SHA256 = /^[0-9a-f]{64}$/;
const sha256 = z.string().regex(SHA256);
/** Keys are relative to the job's prefix. */
const packKey = z.string().regex(/^packs\/\d{8}-\d{6}-\d{6,9}$/);
const indexKey = z.string().regex(/^index\/\d{8}-\d{6}$/);

export const CheckpointId = z.string().regex(/^\d{8}-\d{6}$/);

const Pack = z.strictObject({ key: packKey, sizeBytes: z.int().min(1).max(MOST_PACK_BYTES) });

/** How the checkpoint is encrypted: by a data key, that is wrapped by the key `keyId`. `mac` is the manifest's own. */
/** Those below are the agent's (agent/lastPid.ts). */
const LEAST_PID = 1000;
const MOST_PID = 2 ** 22;
/** As `--image` takes it; an engine would read a leading "-" as an option. */
const ImageName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}$/);
/** What people read: a version, a name. */
const Word = z.string().min(1).max(200);

const Encryption = z.strictObject({
  keyId: z.string().min(1).max(2048),
  wrappedKey: z.base64().max(8192),
  mac: sha256,
});

const ManifestFields = z.strictObject({
  version: z.literal([PLAIN_VERSION, BOUND_VERSION]),
  /** The store that it was written for (encryption/home.ts): version 4 has it, and no other. */
  home: z.string().min(1).max(2048).optional(),
  id: CheckpointId,
  epoch: z.int().min(0),
  /** When the program was stopped: ms since 1970. */
  frozenAt: z.int(),
  criuVersion: Word,
  kernel: Word,
  architecture: Word,
  cpuFeatures: z.array(Word).max(2000),
  runtime: Word,
  /** Digest of the container image, for runtimes that have images. */
  image: ImageName.nullable(),
  /** The supervisor's process id. */
  rootPid: z.int().min(LEAST_PID).max(MOST_PID),
  logSizes: z.strictObject({ stdout: size, stderr: size }),
  memoryBytes: size,
  fileBytes: size,
  sentBytes: size,
  /** The checkpoint that this one has chunks in common with; null where it stands by itself. For people: `packs` is what counts. */
  base: CheckpointId.nullable(),
  index: z.strictObject({ key: indexKey, sizeBytes: z.int().min(1).max(MOST_INDEX_BYTES), sha256 }),
  /** Every pack that the index refers to, whoever wrote it: they must stay for as long as this manifest does. */
  packs: z.array(Pack),
  encryption: Encryption.nullable(),
});

/** What retention and the choice of a checkpoint read must be what the id says: they do not authenticate it. */
export const Manifest = ManifestFields.refine(
  ({ id, epoch, index }) => epoch === Number(id.slice(0, 8)) && index.key === checkpointKeys.index(id),
  'has the epoch or the index of another checkpoint',
).refine(
  ({ version, home, encryption }) =>
    version === BOUND_VERSION ? home !== undefined && encryption !== null : home === undefined,
  'must say for which store it is in version 4, where it is encrypted, and in no other',
);
export type Manifest = z.output<typeof Manifest>;

/** Id, pack, offset and size in the pack, size of the content. */
export type Chunk = [id: string, pack: number, offset: number, storedBytes: number, contentBytes: number];
// Chunks and pieces are looked at by hand: a large job has 100,000 of them, for which a schema of their parts takes as long as
// all else before a lazy thaw's first instruction.
const Chunks = z.custom<Chunk[]>((value) => Array.isArray(value) && value.every(isChunk));

/**
 * A part of some content: a whole chunk, by its number in the index; a part of a chunk, as number, offset and size; or zeros,
 * as -1, 0 and how many.
 */
export type Piece = number | [chunk: number, offset: number, sizeBytes: number];
const Pieces = z.custom<Piece[]>((value) => Array.isArray(value) && value.every(isPiece));

/**
 * One process's or shared memory object's pages: `pieces`, joined, are the present ranges' pages in order. No piece goes
 * beyond a multiple of `CHUNK_BYTES` in the address space.
 */
const MemoryObject = z.strictObject({
  /** CRIU's `id << 8 | type`, decimal. */
  object: z.string().regex(/^\d{1,20}$/),
  /** Address (decimal), pages, flags. */
  ranges: z.array(z.tuple([z.string().regex(/^\d{1,20}$/), size, z.int().min(0).max(7)])),
  pieces: Pieces,
});

const Image = z.strictObject({ name: z.string().regex(/^[A-Za-z0-9._-]{1,100}$/), sizeBytes: size, pieces: Pieces });

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
    /** The content of those ranges, one after the other; each range begins with a new piece. */
    pieces: Pieces,
  }),
  z.strictObject({ type: z.literal('symlink'), ...attributes, target: z.string().min(1) }),
  /** Another name of a file that comes earlier in the list. */
  z.strictObject({ type: z.literal('link'), path: FilePath, target: FilePath }),
  z.strictObject({ type: z.literal('fifo'), ...attributes }),
]);
export type FileEntry = z.output<typeof FileEntry>;

/** Packs are numbered as the manifest has them. `files` has folders before what is in them. What is not in the list is not there after a thaw. */
export const Index = z.strictObject({
  chunks: Chunks,
  memory: z.array(MemoryObject),
  images: z.array(Image),
  files: z.array(FileEntry),
});
export type Index = z.output<typeof Index>;

function isChunk(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 5) return false;
  const [id, pack, offset, storedBytes, contentBytes]: unknown[] = value;
  const isNamed = typeof id === 'string' && SHA256.test(id);
  return isNamed && [pack, offset].every(isCount) && isIn(storedBytes, 1) && isIn(contentBytes, 1, CHUNK_BYTES);
}

function isPiece(value: unknown): boolean {
  if (!Array.isArray(value)) return isCount(value);
  const [chunk, offset, sizeBytes]: unknown[] = value;
  return value.length === 3 && isIn(chunk, -1) && isCount(offset) && isIn(sizeBytes, 1);
}

function isCount(value: unknown): boolean {
  return isIn(value, 0);
}

function isIn(value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
}

export const checkpointKeys = {
  manifests: 'manifests/',
  manifest: (id: string) => `manifests/${id}.json`,
  index: (id: string) => `index/${id}`,
  pack: (id: string, number: number) => `packs/${id}-${String(number).padStart(6, '0')}`,
} as const;

export function checkpointId(epoch: number, sequence: number): string {
  return `${String(epoch).padStart(8, '0')}-${String(sequence).padStart(6, '0')}`;
}
