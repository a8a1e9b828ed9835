/** Files on their way out and in: a folder as a list of entries whose content is in chunks. */
import type { Stats } from 'node:fs';
import { chmod, lchown, link, lstat, lutimes, mkdir, open, readdir, readlink, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { ChunkWriter } from './chunkWriter.ts';
import { CHUNK_BYTES, type FileEntry } from './format.ts';

/**
 * Adds everything below `root` to the writer, folders before their content. Nothing may change there meanwhile.
 * Sockets are left out: CRIU makes those that the job had bound again.
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
    const names = await readdir(join(root, path));
    for (const name of names.sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      const stats = await lstat(join(root, below));
      const entry = await describe(below, stats);
      if (entry) entries.push(entry);
      if (stats.isDirectory()) await visit(below);
    }
  }

  async function describe(path: string, stats: Stats): Promise<FileEntry | null> {
    const attributes = {
      path,
      mode: stats.mode & 0o7777,
      uid: stats.uid,
      gid: stats.gid,
      modifiedAtMs: stats.mtimeMs,
    };
    if (stats.isDirectory()) return { type: 'directory', ...attributes };
    if (stats.isSymbolicLink()) return { type: 'symlink', ...attributes, target: await readlink(join(root, path)) };
    if (stats.isFIFO()) return { type: 'fifo', ...attributes };
    if (!stats.isFile()) return null;
    const identity = `${stats.dev}:${stats.ino}`;
    const target = firstNames.get(identity);
    if (target !== undefined) return { type: 'link', path, target };
    if (stats.nlink > 1) firstNames.set(identity, path);
    return {
      type: 'file',
      ...attributes,
      sizeBytes: stats.size,
      chunks: await saveContent(join(root, path), stats.size),
    };
  }

  async function saveContent(path: string, sizeBytes: number): Promise<number[]> {
    if (sizeBytes === 0) return [];
    await using file = await open(path);
    return await readChunks(file, sizeBytes, writer, buffer, onRead);
  }

  await visit('');
  return entries;
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

/** Makes everything but the files' content; files get their size, as holes. `root` must exist and be empty. */
export async function makeFiles(root: string, entries: readonly FileEntry[]): Promise<void> {
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
