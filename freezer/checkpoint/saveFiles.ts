/**
 * Files on their way out: a folder as a list of entries whose content is in chunks.
 *
 * With calls that block, in the engine's own process: the program stands still meanwhile, and for a small file each call that
 * does not block costs many times what it does.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { join } from 'node:path';
import { FreezerError } from '../errors.ts';
import type { ChunkWriter } from './chunkWriter.ts';
import { type DataRange, findDataRanges, isSparse } from './dataRanges.ts';
import type { AttributeReader } from './extendedAttributes.ts';
import { CHUNK_BYTES, type FileEntry, type Piece } from './format.ts';
import { refuseLongPath } from './longPaths.ts';
import { zeros } from './pieces.ts';

/** A link in the place of a file is not followed, and a pipe in its place does not hold us up. */
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** What the walk needs besides the folder. */
export interface SaveFilesOptions {
  readonly toolboxDirectory: string;
  readonly writer: ChunkWriter;
  /** Of the folder. */
  readonly readAttributes: AttributeReader;
  readonly onRead: (bytes: number) => void;
}

/**
 * Adds everything below `root` to the writer, folders before their content. Nothing may change there meanwhile.
 * Sockets are left out: CRIU makes those that the job had bound again. Throws `FreezerError` `cannotFreeze` for names that are
 * not UTF-8, for paths that are too long to be made again, and for sizes beyond 8 PiB.
 */
export async function saveFiles(
  root: string,
  { toolboxDirectory, writer, readAttributes, onRead }: SaveFilesOptions,
): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  const firstNames = new Map<string, string>();

  async function visit(path: string): Promise<void> {
    const names = readdirSync(join(root, path), { encoding: 'buffer' });
    for (const name of names.map((bytes) => asText(bytes, path)).sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      refuseLongPath(below);
      const stats = lstatSync(join(root, below), { bigint: true });
      const entry = await describe(below, stats);
      if (entry) entries.push(entry);
      if (stats.isDirectory()) await visit(below);
    }
  }

  async function describe(path: string, stats: BigIntStats): Promise<FileEntry | null> {
    const xattrs = readAttributes(path);
    const attributes = { path, ...attributesOf(stats), ...(xattrs.length > 0 ? { xattrs } : {}) };
    if (stats.isDirectory()) return { type: 'directory', ...attributes };
    if (stats.isSymbolicLink())
      return {
        type: 'symlink',
        ...attributes,
        target: asText(readlinkSync(join(root, path), { encoding: 'buffer' }), path),
      };
    if (stats.isFIFO()) return { type: 'fifo', ...attributes };
    if (!stats.isFile()) return null;
    const target = stats.nlink > 1n ? firstNames.get(identityOf(stats)) : undefined;
    if (target !== undefined) return { type: 'link', path, target };
    if (stats.nlink > 1n) firstNames.set(identityOf(stats), path);
    return { type: 'file', ...attributes, ...(await saveContent(join(root, path), stats)) };
  }

  async function saveContent(path: string, stats: BigIntStats) {
    const sizeBytes = Number(stats.size);
    // The index has no such numbers: it could not be read again.
    if (!Number.isSafeInteger(sizeBytes)) throw tooLarge(path);
    if (sizeBytes === 0) return { sizeBytes, pieces: [] };
    const file = openSame(path, stats);
    try {
      if (!isSparse(stats)) return { sizeBytes, pieces: await readContent(file, sizeBytes, writer, onRead) };
      const dataRanges = await findDataRanges(file, sizeBytes, toolboxDirectory);
      return { sizeBytes, dataRanges, pieces: await readRanges(file, dataRanges, writer, onRead) };
    } finally {
      closeSync(file);
    }
  }

  await visit('');
  return entries;
}

function attributesOf(stats: BigIntStats) {
  return {
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    modifiedAtMs: Number(stats.mtimeNs) / 1e6,
  };
}

function identityOf(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}`;
}

/** A descriptor of the file that was looked at, and of no other that has taken its name. */
function openSame(path: string, seen: BigIntStats): number {
  const file = openSync(path, OPEN_FILE);
  if (identityOf(fstatSync(file, { bigint: true })) === identityOf(seen)) return file;
  closeSync(file);
  throw new Error(`A file was replaced while it was saved: ${path}.`);
}

function tooLarge(path: string): FreezerError {
  const what = `The job cannot be frozen: the size of ${path} is 8 PiB or more.`;
  return new FreezerError('cannotFreeze', what, 'Let the program make its sparse files smaller.');
}

/** Throws `FreezerError` `cannotFreeze` for a name that is not UTF-8: saved as text it would come back as another. */
function asText(bytes: Buffer, folder: string): string {
  const text = bytes.toString('utf8');
  if (Buffer.from(text).equals(bytes)) return text;
  const what = `The job cannot be frozen: in "${folder}" a name or link target is not UTF-8: ${text}.`;
  throw new FreezerError('cannotFreeze', what, 'Let the program name its files in UTF-8.');
}

/** Adds the first `sizeBytes` of an open file (its descriptor) to the writer. The pieces are there when all is examined. */
export function readContent(
  file: number,
  sizeBytes: number,
  writer: ChunkWriter,
  onRead: (bytes: number) => void,
): Promise<Piece[]> {
  return readRanges(file, [[0, sizeBytes]], writer, onRead);
}

async function readRanges(
  file: number,
  ranges: readonly DataRange[],
  writer: ChunkWriter,
  onRead: (bytes: number) => void,
): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for (const [offset, sizeBytes] of ranges) {
    const end = offset + sizeBytes;
    for (let at = offset; at < end; ) {
      if (writer.isFull) await writer.ready();
      const content = readInto(writer, file, Math.min(CHUNK_BYTES, end - at), at);
      if (content.length === 0) throw new Error(`A file became shorter while it was saved, at ${at} of ${end} bytes.`);
      const position = pieces.push(zeros(content.length)) - 1;
      writer.examine([content], { stored: true }, (finding) => {
        if (!finding.isZero) pieces[position] = writer.store([content], finding);
      });
      onRead(content.length);
      at += content.length;
    }
  }
  return pieces;
}

function readInto({ slabs }: ChunkWriter, file: number, sizeBytes: number, at: number): Buffer {
  const space = slabs.space(sizeBytes);
  const bytesRead = readSync(file, space, 0, sizeBytes, at);
  slabs.took(bytesRead);
  return space.subarray(0, bytesRead);
}
