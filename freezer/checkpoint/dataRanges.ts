/** Where a file has content, and where it has only holes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { BigIntStats } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { CHUNK_BYTES } from './format.ts';

/** Offset and size in bytes. */
export type DataRange = [offset: number, sizeBytes: number];

/** Holes are looked for and made at this granularity: the block of the usual file systems. */
export const HOLE_BYTES = 4096;
const STAT_BLOCK_BYTES = 512n;

/** Whether the file has fewer blocks than its size needs, by a hole or more (or by the file system's compression). */
export function isSparse(stats: BigIntStats): boolean {
  return stats.size - stats.blocks * STAT_BLOCK_BYTES >= BigInt(HOLE_BYTES);
}

/**
 * The ranges of a sparse file outside of which it is all holes, in order, widened to multiples of `CHUNK_BYTES` so that the
 * same content is cut into the same chunks each time. The toolbox's `data-ranges` asks the kernel (`SEEK_DATA`).
 */
export async function findDataRanges(file: number, sizeBytes: number, toolboxDirectory: string): Promise<DataRange[]> {
  if (sizeBytes <= CHUNK_BYTES) return [[0, sizeBytes]];
  const dataRanges = spawn(join(toolboxDirectory, 'bin/data-ranges'), { stdio: [file, 'pipe', 'inherit'] });
  const [answer, [exitCode]] = await Promise.all([text(dataRanges.stdout as Readable), once(dataRanges, 'close')]);
  if (exitCode !== 0) throw new Error(`data-ranges ended with ${exitCode}.`);
  return widen(answer.split('\n').filter(Boolean).map(parseLine), sizeBytes);
}

function parseLine(line: string): [start: number, end: number] {
  const match = /^(\d+) (\d+)$/.exec(line);
  if (!match) throw new Error(`data-ranges answered ${JSON.stringify(line)}.`);
  return [Number(match[1]), Number(match[2])];
}

function widen(ranges: readonly (readonly [start: number, end: number])[], sizeBytes: number): DataRange[] {
  const wide: DataRange[] = [];
  for (const [start, end] of ranges) {
    const from = start - (start % CHUNK_BYTES);
    const to = Math.min(sizeBytes, Math.ceil(end / CHUNK_BYTES) * CHUNK_BYTES);
    const last = wide.at(-1);
    if (last && from <= last[0] + last[1]) last[1] = Math.max(last[1], to - last[0]);
    else if (to > from) wide.push([from, to - from]);
  }
  return wide;
}

const ZEROS = Buffer.alloc(HOLE_BYTES);

/** The parts of `content`, which belongs at a multiple of `HOLE_BYTES`, that are not zeros. */
export function* partsWithData(content: Uint8Array): Generator<{ at: number; bytes: Uint8Array }> {
  let start: number | null = null;
  for (let at = 0; at < content.length; at += HOLE_BYTES) {
    const block = content.subarray(at, at + HOLE_BYTES);
    const isZero = ZEROS.subarray(0, block.length).equals(block);
    if (isZero && start !== null) yield { at: start, bytes: content.subarray(start, at) };
    start = isZero ? null : (start ?? at);
  }
  if (start !== null) yield { at: start, bytes: content.subarray(start) };
}
