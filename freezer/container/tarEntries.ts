/** The headers of a tar archive as it streams by: ustar and pax, as engines write them (POSIX.1-2001, tar(5)). Contents are dropped. */
import { FreezerError } from '../errors.ts';

export interface TarEntry {
  /** Without a slash or a `./` at the start, and without a slash at the end. */
  readonly path: string;
  readonly kind: 'file' | 'hardLink' | 'link' | 'folder' | 'other';
  /** Where a link leads; of a hard link, a path like `path`. */
  readonly target: string;
  readonly sizeBytes: number;
}

const BLOCK = 512;
/** Of the extended header of one entry, which is held in memory. */
const MOST_EXTENDED_BYTES = 2 ** 20;
const KINDS: Partial<Record<string, TarEntry['kind']>> = {
  '0': 'file',
  '\0': 'file',
  '1': 'hardLink',
  '2': 'link',
  '5': 'folder',
};

/** Throws `FreezerError` `cannotRun` for what is no such archive, or is cut off. */
export async function* tarEntries(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  await using blocks = new Blocks(chunks);
  let extended: ReadonlyMap<string, string> = new Map();
  for (let header = await blocks.take(BLOCK); header[0] !== 0; header = await blocks.take(BLOCK)) {
    const type = String.fromCharCode(header[156] ?? 0);
    const sizeBytes = Number(extended.get('size') ?? octal(header.subarray(124, 136)));
    const paddedBytes = Math.ceil(sizeBytes / BLOCK) * BLOCK;
    if (!Number.isSafeInteger(paddedBytes)) throw malformed();
    if (type === 'x') {
      if (sizeBytes > MOST_EXTENDED_BYTES) throw malformed();
      extended = records((await blocks.take(paddedBytes)).subarray(0, sizeBytes));
      continue;
    }
    const prefix = text(header.subarray(345, 500));
    const name = text(header.subarray(0, 100));
    const path = plain(extended.get('path') ?? (prefix ? `${prefix}/${name}` : name));
    const target = extended.get('linkpath') ?? text(header.subarray(157, 257));
    const kind = KINDS[type] ?? 'other';
    yield { path, kind, target: kind === 'hardLink' ? plain(target) : target, sizeBytes };
    extended = new Map();
    // The size of a link or a folder says nothing of what follows.
    if (kind === 'file' || kind === 'other') await blocks.skip(paddedBytes);
  }
}

/** A stream, taken in pieces of any size. Disposing of it ends the stream. */
class Blocks implements AsyncDisposable {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(sizeBytes: number): Promise<Uint8Array> {
    while (this.#rest.length < sizeBytes) this.#rest = Buffer.concat([this.#rest, await this.#next()]);
    const taken = this.#rest.subarray(0, sizeBytes);
    this.#rest = this.#rest.subarray(sizeBytes);
    return taken;
  }

  async skip(sizeBytes: number): Promise<void> {
    let left = sizeBytes;
    for (; left > this.#rest.length; this.#rest = await this.#next()) left -= this.#rest.length;
    this.#rest = this.#rest.subarray(left);
  }

  async #next(): Promise<Uint8Array> {
    const { done, value } = await this.#chunks.next();
    if (done) throw malformed();
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chunks.return?.();
  }
}

function text(field: Uint8Array): string {
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString();
}

/** Numbers that do not fit are in binary, behind a first bit that is set. */
function octal(field: Uint8Array): number {
  if ((field[0] ?? 0) < 0x80) return Number.parseInt(text(field).trim() || '0', 8);
  return Number(BigInt(`0x${Buffer.from(field.subarray(1)).toString('hex')}`));
}

/** `LENGTH KEY=VALUE\n`, where the length is that of the whole record in bytes. */
function records(body: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < body.length; ) {
    const blank = body.indexOf(0x20, at);
    const lengthBytes = Number(Buffer.from(body.subarray(at, blank)).toString());
    if (blank < 0 || !Number.isSafeInteger(lengthBytes) || lengthBytes <= blank - at) throw malformed();
    const record = Buffer.from(body.subarray(blank + 1, at + lengthBytes - 1)).toString();
    const equals = record.indexOf('=');
    found.set(record.slice(0, equals), record.slice(equals + 1));
    at += lengthBytes;
  }
  return found;
}

function plain(path: string): string {
  return path.replace(/^(\.?\/)+/, '').replace(/\/+$/, '');
}

function malformed(): FreezerError {
  const what = 'The container engine exported a container as something that is no tar archive.';
  return new FreezerError('cannotRun', what, "Look into the container engine's log on this machine.");
}
