/** Files on their way out and in: a folder as a list of entries whose content is in chunks. */
import type { BigIntStats } from 'node:fs';
import { chmod, lchown, link, lstat, lutimes, mkdir, open, readdir, readlink, symlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { FreezerError } from '../errors.ts';
import type { ChunkWriter } from './chunkWriter.ts';
import { CHUNK_BYTES, type FileEntry } from './format.ts';

/**
 * Adds everything below `root` to the writer, folders before their content. Nothing may change there meanwhile.
 * Sockets are left out: CRIU makes those that the job had bound again. Extended attributes are not kept.
 */
export async function saveFiles(
  root: string,
  writer: ChunkWriter,
  onRead: (bytes: number) => void,
): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  const firstNames = new Map<string, string>();
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);

  async function visit(path: string): Promise<void> {
    const names = await readdir(join(root, path), { encoding: 'buffer' });
    for (const name of names.map((bytes) => asText(bytes, path)).sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      const stats = await lstat(join(root, below), { bigint: true });
      const entry = await describe(below, stats);
      if (entry) entries.push(entry);
      if (stats.isDirectory()) await visit(below);
    }
  }

  async function describe(path: string, stats: BigIntStats): Promise<FileEntry | null> {
    const attributes = {
      path,
      mode: Number(stats.mode & 0o7777n),
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      modifiedAtMs: Number(stats.mtimeNs) / 1e6,
    };
    if (stats.isDirectory()) return { type: 'directory', ...attributes };
    if (stats.isSymbolicLink())
      return {
        type: 'symlink',
        ...attributes,
        target: asText(await readlink(join(root, path), { encoding: 'buffer' }), path),
      };
    if (stats.isFIFO()) return { type: 'fifo', ...attributes };
    if (!stats.isFile()) return null;
    const identity = `${stats.dev}:${stats.ino}`;
    const target = stats.nlink > 1n ? firstNames.get(identity) : undefined;
    if (target !== undefined) return { type: 'link', path, target };
    if (stats.nlink > 1n) firstNames.set(identity, path);
    const sizeBytes = Number(stats.size);
    return { type: 'file', ...attributes, sizeBytes, chunks: await saveContent(join(root, path), sizeBytes) };
  }

  async function saveContent(path: string, sizeBytes: number): Promise<number[]> {
    if (sizeBytes === 0) return [];
    await using file = await open(path);
    return await readChunks(file, sizeBytes, writer, buffer, onRead);
  }

  await visit('');
  return entries;
}

/** Throws `FreezerError` `cannotFreeze` for a name that is not UTF-8: saved as text it would come back as another. */
function asText(bytes: Buffer, folder: string): string {
  const text = bytes.toString('utf8');
  if (Buffer.from(text).equals(bytes)) return text;
  const what = `The job cannot be frozen: in "${folder}" a name or link target is not UTF-8: ${text}.`;
  throw new FreezerError('cannotFreeze', what, 'Let the program name its files in UTF-8.');
}

/** Adds `sizeBytes` of an open file to the writer and gives the chunks' indices. */
export async function readChunks(
  file: Awaited<ReturnType<typeof open>>,
  sizeBytes: number,
  writer: ChunkWriter,
  buffer: Buffer,
  onRead: (bytes: number) => void,
): Promise<number[]> {
  const chunks: number[] = [];
  for (let at = 0; at < sizeBytes; ) {
    await writer.ready();
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, sizeBytes - at), at);
    if (bytesRead === 0) throw new Error(`A file became shorter while it was saved, at ${at} of ${sizeBytes} bytes.`);
    chunks.push(writer.beginChunk());
    writer.append(buffer.subarray(0, bytesRead));
    onRead(bytesRead);
    at += bytesRead;
  }
  return chunks;
}

/**
 * Makes everything but the files' content; files get their size, as holes. `root` must exist and be empty. Throws
 * `FreezerError` `corrupt` for a list that could reach out of it.
 */
export async function makeFiles(root: string, entries: readonly FileEntry[]): Promise<void> {
  refuseEscapes(entries);
  for (const entry of entries) {
    const path = join(root, entry.path);
    switch (entry.type) {
      case 'directory':
        await mkdir(path, { recursive: true });
        break;
      case 'symlink':
        await symlink(entry.target, path);
        break;
      case 'fifo':
        await execa('mkfifo', ['--', path]);
        break;
      case 'link':
        await link(join(root, entry.target), path);
        break;
      case 'file': {
        await using file = await open(path, 'wx', 0o600);
        await file.truncate(entry.sizeBytes);
      }
    }
  }
}

/**
 * Every entry must be new and in a folder that came before it, and a link must name a file that came before it: then
 * nothing is ever written through a link, whoever made the list.
 */
function refuseEscapes(entries: readonly FileEntry[]): void {
  const types = new Map<string, FileEntry['type']>();
  for (const entry of entries) {
    const parent = dirname(entry.path);
    const hasPlace = parent === '.' ? entry.type === 'directory' : types.get(parent) === 'directory';
    const isSound = entry.type !== 'link' || types.get(entry.target) === 'file';
    if (!hasPlace || !isSound || types.has(entry.path)) {
      const what = `The checkpoint is corrupt: its entry "${entry.path}" is out of place.`;
      throw new FreezerError('corrupt', what, 'Floe falls back to the checkpoint before it.');
    }
    types.set(entry.path, entry.type);
  }
}

/** Sets owners, modes and times, when all content is in place; folders last, since what is done in them touches their times. */
export async function finishFiles(root: string, entries: readonly FileEntry[]): Promise<void> {
  for (const entry of entries.toReversed()) {
    if (entry.type === 'link') continue;
    const path = join(root, entry.path);
    await lchown(path, entry.uid, entry.gid);
    const seconds = entry.modifiedAtMs / 1000;
    if (entry.type === 'symlink') {
      await lutimes(path, seconds, seconds);
      continue;
    }
    await chmod(path, entry.mode);
    await utimes(path, seconds, seconds);
  }
}
