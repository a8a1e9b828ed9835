/** Changes images of a checkpoint that is not encrypted, as anybody can who may write to its store. */
import { createHash } from 'node:crypto';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { Store } from '../../store/store.ts';
import { checkpointKeys, Index, Manifest } from '../checkpoint/format.ts';

type Change = (image: Buffer) => Buffer;

/** Every image for whose name `changeFor` has a change. All hashes are made right again. */
export async function forgeImages(
  store: Store,
  prefix: string,
  id: string,
  changeFor: (name: string) => Change | null,
): Promise<void> {
  const manifest = Manifest.parse(JSON.parse(String(await store.get(prefix + checkpointKeys.manifest(id)))));
  const index = Index.parse(JSON.parse(String(zstdDecompressSync(await store.get(prefix + manifest.index.key)))));
  const packs = await Promise.all(manifest.packs.map(({ key }) => store.get(prefix + key)));
  const contentOf = (number: number): Buffer => {
    const [, pack = 0, offset = 0, size = 0] = index.chunks[number] ?? [];
    return zstdDecompressSync((packs[pack] as Buffer).subarray(offset, offset + size));
  };
  const forged: Buffer[] = [];
  let packBytes = 0;
  for (const image of index.images) {
    const change = changeFor(image.name);
    if (!change) continue;
    const parts = image.pieces.map((piece) => {
      if (typeof piece === 'number') return contentOf(piece);
      const [number, offset, size] = piece;
      return number < 0 ? Buffer.alloc(size) : contentOf(number).subarray(offset, offset + size);
    });
    const content = change(Buffer.concat(parts));
    const frame = zstdCompressSync(content);
    index.chunks.push([sha256(frame), packs.length, packBytes, frame.length, content.length]);
    image.sizeBytes = content.length;
    image.pieces = [index.chunks.length - 1];
    forged.push(frame);
    packBytes += frame.length;
  }
  const key = checkpointKeys.pack(id, 999_999);
  const indexBytes = zstdCompressSync(JSON.stringify(index));
  const changed: Manifest = {
    ...manifest,
    packs: [...manifest.packs, { key, sizeBytes: packBytes }],
    index: { key: manifest.index.key, sizeBytes: indexBytes.length, sha256: sha256(indexBytes) },
  };
  await store.delete([prefix + manifest.index.key, prefix + checkpointKeys.manifest(id)]);
  await store.create(prefix + key, forged);
  await store.create(prefix + manifest.index.key, indexBytes);
  await store.create(prefix + checkpointKeys.manifest(id), Buffer.from(JSON.stringify(changed)));
}

/** One message of an image that has one: a field of it, or of the message at the end of a path, gets other values. */
export function changeMessage(image: Buffer, path: readonly number[], values: readonly bigint[]): Buffer {
  const head = image.subarray(0, 8);
  const end = 12 + image.readUInt32LE(8);
  const message = changeField(image.subarray(12, end), path, values);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return Buffer.concat([head, length, message, image.subarray(end)]);
}

function changeField(message: Buffer, [number = 0, ...rest]: readonly number[], values: readonly bigint[]): Buffer {
  const kept = [...rawFields(message)].filter((field) => field.number !== number).map(({ raw }) => raw);
  if (rest.length === 0) return Buffer.concat([...kept, ...values.map((value) => integerField(number, value))]);
  const inner = [...rawFields(message)].find((field) => field.number === number)?.content ?? Buffer.alloc(0);
  const changed = changeField(inner, rest, values);
  return Buffer.concat([...kept, varint(BigInt((number << 3) | 2)), varint(BigInt(changed.length)), changed]);
}

function integerField(number: number, value: bigint): Buffer {
  return Buffer.concat([varint(BigInt(number << 3)), varint(value)]);
}

interface RawField {
  readonly number: number;
  /** With its key, as it stood there. */
  readonly raw: Buffer;
  /** Of a message or text. */
  readonly content: Buffer;
}

function* rawFields(message: Buffer): Generator<RawField> {
  for (let at = 0; at < message.length; ) {
    const begin = at;
    const next = (): number => {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const byte = message[at++] ?? 0;
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) return Number(value);
      }
    };
    const key = next();
    const wireType = key & 7;
    let content: Buffer = Buffer.alloc(0);
    if (wireType === 0) next();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else {
      const size = next();
      content = message.subarray(at, at + size);
      at += size;
    }
    yield { number: key >> 3, raw: message.subarray(begin, at), content };
  }
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
