/** The entries of a tar archive, one after the other, as they come. */
import type { Bytes } from './beneath.ts';
import type { ByteSource } from './byteSource.ts';
import { ArchiveFailure } from './failure.ts';
import type { Limits } from './order.ts';
import { tooMany } from './select.ts';
import { BLOCK_BYTES, damaged, decodeBlock, decodePax, decodeWhole, type Range, type RawHeader } from './tarFormat.ts';

/** Two paths of 4,095 bytes fit many times; an extended attribute of somebody else's archive does too. */
const LONGEST_EXTENSION_BYTES = 1024 * 1024;
/** As many as `rangesOf` makes, with 34 bytes each. */
const LONGEST_MAP_BYTES = 20 * 1024 * 1024;

export interface Entry {
  readonly path: Bytes;
  /** `other`: a pipe, a device, or something unknown. */
  readonly type: 'file' | 'folder' | 'symlink' | 'link' | 'other';
  readonly mode: number;
  readonly modifiedAtSeconds: number;
  readonly target: Bytes;
  /** The file's size. */
  readonly sizeBytes: number;
  /** Where the content that follows belongs. */
  readonly ranges: readonly Range[];
}

const TYPES: Record<string, Entry['type']> = {
  ...{ '0': 'file', '\0': 'file', '7': 'file' },
  ...{ '1': 'link', '2': 'symlink', '5': 'folder' },
};

export class TarReader {
  readonly #source: ByteSource;
  readonly #limits: Limits;
  #headers = 0;
  /** Of the entry that was given last: its content that nobody has taken, and the zeros behind that. */
  #contentBytes = 0;
  #paddingBytes = 0;

  constructor(source: ByteSource, limits: Limits) {
    this.#source = source;
    this.#limits = limits;
  }

  /** Null at the end of the archive. Throws `ArchiveFailure` `damaged` or `tooLarge`. */
  async next(): Promise<Entry | null> {
    await this.#skipRest();
    let records = new Map<string, Bytes>();
    for (;;) {
      const header = decodeBlock(await this.#source.take(BLOCK_BYTES));
      if (header === null) return null;
      if (++this.#headers > 3 * this.#limits.entries + 10) throw tooMany(this.#limits);
      const extension = EXTENSIONS[header.flag];
      if (!extension) return this.#entry(header, records);
      const body = await this.#extension(header.sizeBytes);
      records = new Map([...records, ...extension(body)]);
    }
  }

  /** The next part of the content of the entry that `next` gave last; null when there is no more. */
  async content(atMostBytes: number): Promise<Buffer | null> {
    if (this.#contentBytes === 0) return null;
    const part = await this.#source.some(Math.min(atMostBytes, this.#contentBytes));
    this.#contentBytes -= part.length;
    return part;
  }

  async #entry(header: RawHeader, records: ReadonlyMap<string, Bytes>): Promise<Entry> {
    const storedBytes = number(records, 'size') ?? header.sizeBytes;
    if (storedBytes < 0) throw damaged('a size is below zero');
    const type = TYPES[header.flag] ?? 'other';
    // Links have no content, whatever size some programs give them.
    this.#contentBytes = type === 'link' || type === 'symlink' || type === 'folder' ? 0 : storedBytes;
    this.#paddingBytes = (BLOCK_BYTES - (this.#contentBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    const sparse = await this.#sparse(header, records);
    const path = records.get('GNU.sparse.name') ?? records.get('path') ?? header.name;
    return {
      path,
      // Programs before POSIX said so by a slash at the end.
      type: type === 'file' && path.endsWith('/') ? 'folder' : type,
      mode: header.mode,
      modifiedAtSeconds: seconds(records.get('mtime')) ?? header.seconds,
      target: records.get('linkpath') ?? header.target,
      ...(sparse ?? { sizeBytes: this.#contentBytes, ranges: [[0, this.#contentBytes]] }),
    };
  }

  async #sparse(
    header: RawHeader,
    records: ReadonlyMap<string, Bytes>,
  ): Promise<Pick<Entry, 'sizeBytes' | 'ranges'> | null> {
    const isSparse = header.flag === 'S' || [...records.keys()].some((key) => key.startsWith('GNU.sparse.'));
    if (!isSparse) return null;
    const sizeBytes = number(records, 'GNU.sparse.realsize');
    const isKnown = records.get('GNU.sparse.major') === '1' && records.get('GNU.sparse.minor') === '0';
    if (!isKnown || header.flag !== '0' || sizeBytes === undefined) {
      const what = 'The archive has a sparse file of another format than GNU 1.0.';
      throw new ArchiveFailure('damaged', what, 'Pack it with `tar --format=pax --sparse-version=1.0`.');
    }
    const ranges = await this.#map(sizeBytes);
    if (ranges.reduce((sum, [start, end]) => sum + end - start, 0) !== this.#contentBytes) {
      throw damaged('the map of a sparse file is not that of its content');
    }
    return { sizeBytes, ranges };
  }

  async #map(realBytes: number): Promise<Range[]> {
    const blocks: Buffer[] = [];
    const numbers: number[] = [];
    let rest = '';
    while (numbers.length === 0 || numbers.length < 1 + 2 * (numbers[0] as number)) {
      if (this.#contentBytes < BLOCK_BYTES || blocks.length * BLOCK_BYTES > LONGEST_MAP_BYTES) {
        throw damaged('the map of a sparse file is too long');
      }
      const block = await this.#source.take(BLOCK_BYTES);
      this.#contentBytes -= BLOCK_BYTES;
      blocks.push(block);
      const lines = (rest + block.toString('latin1')).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) numbers.push(decodeWhole(line));
    }
    const ranges: Range[] = [];
    let before = 0;
    for (let at = 1; at < 1 + 2 * (numbers[0] as number); at += 2) {
      const [start, length] = [numbers[at] as number, numbers[at + 1] as number];
      if (start < before || start + length > realBytes) throw damaged('the map of a sparse file is out of order');
      before = start + length;
      if (length > 0) ranges.push([start, before]);
    }
    return ranges;
  }

  async #extension(sizeBytes: number): Promise<Buffer> {
    if (sizeBytes < 0 || sizeBytes > LONGEST_EXTENSION_BYTES) throw damaged('an extended header is too long');
    const body = await this.#source.take(sizeBytes);
    await this.#source.take((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES);
    return body;
  }

  async #skipRest(): Promise<void> {
    while ((await this.content(Number.MAX_SAFE_INTEGER)) !== null);
    await this.#source.take(this.#paddingBytes);
    this.#paddingBytes = 0;
  }
}

/** Headers that say something of the next one: pax records, those for all that follow (passed over), and long names as GNU tar has them. */
const EXTENSIONS: Record<string, (body: Buffer) => Iterable<[string, Bytes]>> = {
  x: decodePax,
  g: () => [],
  L: (body) => [['path', untilZero(body)]],
  K: (body) => [['linkpath', untilZero(body)]],
};

function untilZero(body: Buffer): Bytes {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end < 0 ? body.length : end);
}

function number(records: ReadonlyMap<string, Bytes>, key: string): number | undefined {
  const digits = records.get(key);
  return digits === undefined ? undefined : decodeWhole(digits);
}

function seconds(text: Bytes | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d{1,15}(\.\d{1,30})?$/.test(text)) throw damaged('an extended header has a time that is none');
  return Number(text);
}
