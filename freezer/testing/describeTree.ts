/** A whole tree as values that can be compared: everything that a program could see of it. Runs inside containers, too. */
import { createHash } from 'node:crypto';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { readMountPoints } from '../agent/mountPoints.ts';

/** Content beyond this is looked at only at the beginning: of a sparse terabyte. */
const MOST_BYTES = 2 ** 26;

/** By path: kind and mode, owner, time, size, blocks, content or target, and the first name of files that have several. */
export async function describeTree(root: string): Promise<Record<string, string>> {
  const mounts = new Set(await readMountPoints());
  const names = new Map<number, string>();
  const tree: Record<string, string> = {};

  async function visit(path: string): Promise<void> {
    if (mounts.has(path)) return;
    const stats = await lstat(path);
    if (stats.isSocket()) return;
    const facts = [stats.mode.toString(8), stats.uid, stats.gid, stats.mtime.toISOString()];
    if (stats.isSymbolicLink()) facts.push(await readlink(path));
    if (stats.isFile()) {
      if (!names.has(stats.ino)) names.set(stats.ino, path);
      facts.push(
        stats.size,
        await hash(path),
        stats.blocks * 512 < stats.size / 2 ? 'sparse' : '',
        names.get(stats.ino) ?? '',
      );
    }
    tree[path] = facts.join(' ');
    if (!stats.isDirectory()) return;
    for (const name of (await readdir(path)).sort()) await visit(join(path, name));
  }

  await visit(root);
  return tree;
}

async function hash(path: string): Promise<string> {
  const sum = createHash('sha256');
  await using file = await open(path);
  for await (const bytes of file.createReadStream({ end: MOST_BYTES, autoClose: false })) sum.update(bytes as Buffer);
  return sum.digest('hex');
}
