/** Content on its way out, in parts: in memory, or still in files that nobody changes. As plain data, for any thread. */
import { readSync } from 'node:fs';

/** Bytes of an open file, by its descriptor in this process. */
export interface FilePart {
  readonly file: number;
  readonly offset: number;
  readonly length: number;
}
export type ContentPart = Uint8Array | FilePart;
/** Nobody changes it until the answer of whoever was asked about it is there. */
export type Content = readonly ContentPart[];

export function sizeOf(content: Content): number {
  return content.reduce((sum, { length }) => sum + length, 0);
}

export function partOfPart(part: ContentPart, offset: number, length: number): ContentPart {
  return part instanceof Uint8Array
    ? part.subarray(offset, offset + length)
    : { file: part.file, offset: part.offset + offset, length };
}

/** `length` bytes from `offset` on: where they lie, or copied into one place. Throws what `bytesOf` throws. */
export function partAt(content: Content, offset: number, length: number): ContentPart {
  const parts: ContentPart[] = [];
  let at = 0;
  for (const part of content) {
    const [from, to] = [Math.max(offset - at, 0), Math.min(offset + length - at, part.length)];
    if (from < to) parts.push(partOfPart(part, from, to - from));
    at += part.length;
  }
  const [first] = parts;
  return parts.length === 1 && first ? first : bytesOf(parts, new Uint8Array(length));
}

/** The two as one, where the second lies just behind the first; else null. */
export function mergedParts(first: ContentPart, second: ContentPart): ContentPart | null {
  const length = first.length + second.length;
  if (first instanceof Uint8Array) {
    const goesOn = second instanceof Uint8Array && second.buffer === first.buffer;
    if (!goesOn || first.byteOffset + first.length !== second.byteOffset) return null;
    return new Uint8Array(first.buffer, first.byteOffset, length);
  }
  if (second instanceof Uint8Array || second.file !== first.file) return null;
  return first.offset + first.length === second.offset ? { ...first, length } : null;
}

/**
 * What the parts are one after the other: in `space`, which is large enough, or where it lies already when it is all in one
 * place. Throws what the file system says, and when a file is shorter than its part.
 */
export function bytesOf(content: Content, space: Uint8Array): Uint8Array {
  const [only] = content;
  if (content.length === 1 && only instanceof Uint8Array) return only;
  let at = 0;
  for (const part of content) {
    if (part instanceof Uint8Array) space.set(part, at);
    else readWhole(part, space.subarray(at, at + part.length));
    at += part.length;
  }
  return space.subarray(0, at);
}

function readWhole({ file, offset, length }: FilePart, into: Uint8Array): void {
  for (let at = 0; at < length; ) {
    const bytesRead = readSync(file, into, at, length - at, offset + at);
    if (bytesRead === 0) throw new Error(`A file became shorter while it was saved, at ${offset + at}.`);
    at += bytesRead;
  }
}
