/** Content as a list of pieces (format.ts): parts of chunks, and zeros. */
import type { Chunk, Piece } from './format.ts';

/** A piece with everything said. `chunk` is null for zeros. */
export interface Part {
  readonly chunk: number | null;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Undefined for a piece of a chunk that is not there or has not got that much. */
export function partOf(piece: Piece, chunks: readonly Chunk[]): Part | undefined {
  const [number, offset, sizeBytes] = typeof piece === 'number' ? [piece, 0, chunks[piece]?.[4] ?? -1] : piece;
  if (number < 0 && sizeBytes > 0) return { chunk: null, offset: 0, sizeBytes };
  const has = chunks[number]?.[4] ?? -1;
  if (sizeBytes < 0 || offset + sizeBytes > has) return undefined;
  return { chunk: number, offset, sizeBytes };
}

/** Neighbours become one piece. The parts' chunks are numbered as in the index to be written. */
export function piecesOf(parts: readonly Part[]): Piece[] {
  return merged(parts).map(({ chunk, offset, sizeBytes }) =>
    chunk === null ? zeros(sizeBytes) : [chunk, offset, sizeBytes],
  );
}

/** How many pieces it would be, at most; null stands for a part that has no chunk yet. */
export function countParts(parts: readonly (Part | null)[]): number {
  return parts.filter((part, at) => at === 0 || !goesOn(parts[at - 1] ?? null, part)).length;
}

function merged(parts: readonly Part[]): Part[] {
  const list: Part[] = [];
  for (const part of parts) {
    const last = list.at(-1);
    if (last && goesOn(last, part)) list.splice(-1, 1, { ...last, sizeBytes: last.sizeBytes + part.sizeBytes });
    else list.push(part);
  }
  return list;
}

function goesOn(last: Part | null, part: Part | null): boolean {
  if (last === null || part === null) return last === part;
  return last.chunk === part.chunk && (part.chunk === null || last.offset + last.sizeBytes === part.offset);
}

export function zeros(sizeBytes: number): Piece {
  return [-1, 0, sizeBytes];
}
