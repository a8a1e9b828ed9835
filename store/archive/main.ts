/**
 * The archiver: a process of its own that packs or unpacks one folder, then ends. It alone opens files that others have made; archiver.ts
 * starts it, and tells it by descriptor 3 what to do. Its imports are few: it starts for every job.
 *
 *   pack     descriptor 1: the archive, compressed
 *   unpack   descriptor 0: the archive, compressed
 *   both     descriptor 3: the order as one line, then messages as lines (order.ts)
 */
import { closeSync, createReadStream, createWriteStream, readSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { openRoot } from './beneath.ts';
import { ByteSource } from './byteSource.ts';
import { ArchiveFailure, codeOf } from './failure.ts';
import type { Message, Order, Summary } from './order.ts';
import { Packer } from './pack.ts';
import type { NextRange } from './ranges.ts';
import { select } from './select.ts';
import { TarReader } from './tarReader.ts';
import { Unpacker } from './unpack.ts';

const CONTROL = 3;
const PIECE_BYTES = 256 * 1024;
const TELL_EVERY_MS = 250;
/** What an archive may ask of memory to be decompressed: 16 MiB, many times what zstd's usual levels ask. */
const LARGEST_WINDOW_LOG = 24;
/** For what stands in an archive besides content: headers with two long paths for each entry, maps of sparse files. */
const OVERHEAD_BYTES = 64 * 1024 * 1024;
const ENTRY_OVERHEAD_BYTES = 16 * 1024;

function readOrder(): Order {
  const pieces: Buffer[] = [];
  for (;;) {
    const piece = Buffer.alloc(64 * 1024);
    const count = readSync(CONTROL, piece);
    if (count === 0) throw new Error('There is no order.');
    pieces.push(piece.subarray(0, count));
    if (piece[count - 1] === 0x0a) return JSON.parse(Buffer.concat(pieces).toString('utf8')) as Order;
  }
}

/** The descriptor blocks, so nothing is ever told by half. */
function tell(message: Message): void {
  const line = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < line.length; ) at += writeSync(CONTROL, line, at);
}

let bytes = 0;
let toldAt = performance.now();
/** Tells now and then that the work goes on. */
function onStep(): void {
  const now = performance.now();
  if (now - toldAt < TELL_EVERY_MS) return;
  toldAt = now;
  tell({ type: 'progress', bytes });
}

async function* counted<T extends Buffer>(chunks: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T> {
  for await (const chunk of chunks) {
    bytes += chunk.length;
    onStep();
    yield chunk;
  }
}

async function pack(order: Order & { task: 'pack' }): Promise<Summary> {
  const { limits, include } = order;
  const nextRange = order.dataRanges === null ? null : loadAddon(order.dataRanges);
  const root = openRoot(order.directory);
  const { paths, unmatched } = select(root, include, limits, onStep);
  const packer = new Packer(root, { limits, nextRange, onStep });
  const compress = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  await pipeline(
    Readable.from(counted(packer.pack(paths)), { objectMode: false }),
    compress,
    createWriteStream('', { fd: 1 }),
  );
  return packer.summary(unmatched);
}

function loadAddon(path: string): NextRange {
  const addon: { exports: { next?: NextRange } } = { exports: {} };
  process.dlopen(addon, path);
  if (!addon.exports.next) throw new Error(`${path} is another addon.`);
  return addon.exports.next;
}

async function unpack({ directory, limits }: Order): Promise<Summary> {
  const root = openRoot(directory);
  using unpacker = new Unpacker(root, { limits, onStep });
  const decompress = createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: LARGEST_WINDOW_LOG } });
  const archive = createReadStream('', { fd: 0, highWaterMark: PIECE_BYTES });
  await pipeline(archive, decompress, async (chunks: AsyncIterable<Buffer>) => {
    const mostBytes = limits.bytes + limits.entries * ENTRY_OVERHEAD_BYTES + OVERHEAD_BYTES;
    const source = new ByteSource(counted(chunks), mostBytes);
    await unpacker.unpack(new TarReader(source, limits));
    await source.drain();
  });
  return unpacker.summary();
}

function explain(error: unknown, { task, directory }: Order): ArchiveFailure {
  if (error instanceof ArchiveFailure) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const code = codeOf(error) ?? '';
  if (task === 'pack') {
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') {
      const what = `The folder ${directory} cannot be read (${code}).`;
      return new ArchiveFailure('notFound', what, 'Check its path and permissions.');
    }
    return new ArchiveFailure('unreadable', `${reason}.`, 'Check the folder and try again.');
  }
  if (code === 'EACCES' || code === 'ENOENT' || code === 'ENOTDIR') {
    return new ArchiveFailure('denied', `No access to ${directory}: ${reason}.`, 'Give this user write access.');
  }
  return new ArchiveFailure('damaged', `The archive is broken: ${reason}.`, 'Store the folder anew.');
}

const order = readOrder();
try {
  const summary = order.task === 'pack' ? await pack(order) : await unpack(order);
  tell({ type: 'progress', bytes });
  tell({ type: 'done', summary });
} catch (error) {
  const { code, message, remedy } = explain(error, order);
  tell({ type: 'failed', code, message, remedy });
}
closeSync(CONTROL);
// What is left of the other side's pipe is nobody's any more.
process.exit();
