/** What an engine with fixed windows, or with none, would have sent for a change: counted on the changed memory itself. */
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { PAGE_BYTES, windowsOf } from './changes.ts';

const compress = promisify(zstdCompress);
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
const CHUNK_PAGES = 64;

export interface ChangedMemory {
  /** Of the process, as this machine numbers it. */
  readonly pid: number;
  readonly base: bigint;
  readonly sizeBytes: number;
  readonly pages: readonly number[];
}

/** Bytes of all windows of this size that hold a changed page, each compressed by itself as `zstd -1` does. */
export async function windowsBytes(memory: ChangedMemory, windowBytes: number): Promise<number> {
  await using file = await open(`/proc/${memory.pid}/mem`);
  const end = memory.base + BigInt(memory.sizeBytes);
  let sum = 0;
  for (const number of windowsOf(memory.pages, memory.base, windowBytes)) {
    const from = max(number * BigInt(windowBytes), memory.base);
    const to = min((number + 1n) * BigInt(windowBytes), end);
    sum += await packedBytes([await read(file, from, Number(to - from))]);
  }
  return sum;
}

/** Bytes of the changed pages alone, gathered into chunks of 256 KiB and compressed alike. */
export async function changeBytes(memory: ChangedMemory): Promise<number> {
  await using file = await open(`/proc/${memory.pid}/mem`);
  let sum = 0;
  for (let first = 0; first < memory.pages.length; first += CHUNK_PAGES) {
    const pages = memory.pages.slice(first, first + CHUNK_PAGES);
    const readPage = (page: number) => read(file, memory.base + BigInt(page * PAGE_BYTES), PAGE_BYTES);
    sum += await packedBytes(await Promise.all(pages.map(readPage)));
  }
  return sum;
}

async function packedBytes(parts: readonly Buffer[]): Promise<number> {
  const bytes = Buffer.concat(parts);
  return Math.min(bytes.length, (await compress(bytes, LEVEL)).length);
}

async function read(file: FileHandle, address: bigint, sizeBytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(sizeBytes);
  const { bytesRead } = await file.read({ buffer, position: address });
  if (bytesRead !== sizeBytes) throw new Error(`the program's memory at ${address} cannot be read`);
  return buffer;
}

const max = (a: bigint, b: bigint) => (a > b ? a : b);
const min = (a: bigint, b: bigint) => (a < b ? a : b);
