/**
 * Whether the parts of an index fit together. It is looked at once, when an index is opened, so that whoever uses one need not
 * ask. Takes time and memory by the size of the index, whatever sizes and counts it claims.
 */
import { type Chunk, type FileEntry, type Index, type Manifest, PAGE_BYTES, type Piece } from './format.ts';
import { partOf } from './pieces.ts';
import { stretchesOf } from './stretches.ts';

/** What is wrong with it, as the end of a sentence; null for a sound index. `packs`: the manifest's. */
export function flawOf(index: Index, packs: Manifest['packs']): string | null {
  const { chunks, memory, images, files } = index;
  return (
    chunkFlaw(chunks, packs) ??
    doubleFlaw(memory.map(({ object }) => object)) ??
    doubleFlaw(images.map(({ name }) => name)) ??
    first(memory, (object) => memoryFlaw(object, chunks)) ??
    first(images, ({ name, sizeBytes, pieces }) => contentFlaw(name, sizeBytes, pieces, chunks)) ??
    first(files, (file) => fileFlaw(file, chunks))
  );
}

function first<T>(items: readonly T[], flaw: (item: T) => string | null): string | null {
  for (const item of items) {
    const found = flaw(item);
    if (found !== null) return found;
  }
  return null;
}

function chunkFlaw(chunks: readonly Chunk[], packs: Manifest['packs']): string | null {
  const outside = chunks.findIndex(
    ([, pack, offset, storedBytes]) => offset + storedBytes > (packs[pack]?.sizeBytes ?? 0),
  );
  return outside < 0 ? null : `chunk ${outside} of its index is in no pack`;
}

function doubleFlaw(names: readonly string[]): string | null {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return `${name} is twice in its index`;
    seen.add(name);
  }
  return null;
}

function memoryFlaw({ object, ranges, pieces }: Index['memory'][number], chunks: readonly Chunk[]): string | null {
  for (const [address, pages] of ranges) {
    const isWhole = BigInt(address) % BigInt(PAGE_BYTES) === 0n;
    if (!isWhole || !Number.isSafeInteger(Number(address) + pages * PAGE_BYTES))
      return `memory object ${object} has a range that cannot be`;
  }
  let piece = 0;
  for (const { pages } of stretchesOf(ranges)) {
    for (let left = pages.length * PAGE_BYTES; left > 0; piece++) {
      const part = partOf(pieces[piece] ?? -1, chunks);
      if (!part) return `content of memory object ${object} is missing`;
      if (part.sizeBytes > left || part.sizeBytes % PAGE_BYTES !== 0 || part.offset % PAGE_BYTES !== 0)
        return `content of memory object ${object} does not fit its pages`;
      left -= part.sizeBytes;
    }
  }
  return piece < pieces.length ? `memory object ${object} has more content than pages` : null;
}

function fileFlaw(file: FileEntry, chunks: readonly Chunk[]): string | null {
  if (file.type !== 'file') return null;
  const { path, sizeBytes, dataRanges, pieces } = file;
  if (!dataRanges) return contentFlaw(path, sizeBytes, pieces, chunks);
  const [offset, lastBytes] = dataRanges.at(-1) ?? [0, 0];
  if (offset + lastBytes > sizeBytes) return `${path} has data beyond its end`;
  return contentFlaw(
    path,
    dataRanges.reduce((sum, [, rangeBytes]) => sum + rangeBytes, 0),
    pieces,
    chunks,
  );
}

function contentFlaw(
  name: string,
  sizeBytes: number,
  pieces: readonly Piece[],
  chunks: readonly Chunk[],
): string | null {
  let left = sizeBytes;
  for (const piece of pieces) {
    const part = partOf(piece, chunks);
    if (!part) return `content of ${name} is not in its index`;
    left -= part.sizeBytes;
    if (left < 0) return `${name} has more content than its size`;
  }
  return left === 0 ? null : `content of ${name} is missing`;
}
