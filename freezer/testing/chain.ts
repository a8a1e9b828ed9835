/**
 * One job's checkpoints, each built on the one before, of memory without a program behind it: what CRIU would send is made here, and
 * goes the way that it goes in earnest.
 */
import { once } from 'node:events';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { openStore, type Store } from '../../store/index.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { controlFiles } from '../agent/protocol.ts';
import { requireManifest } from '../checkpoint/catalogue.ts';
import { Codec } from '../checkpoint/codec.ts';
import { DigestFiller } from '../checkpoint/digestFiller.ts';
import { checkpointId, type Index, type Manifest, PAGE_BYTES } from '../checkpoint/format.ts';
import { openCheckpoint } from '../checkpoint/openCheckpoint.ts';
import { partOf } from '../checkpoint/pieces.ts';
import { CheckpointReader } from '../checkpoint/reader.ts';
import { encodePagemap, type PageRange, pagemapName, pagesName } from '../criu/pagemap.ts';
import { KeyRing } from '../encryption/keyRing.ts';
import type { FreezeFolders } from '../engine/protocol.ts';
import { Save } from '../engine/save.ts';

const DIGEST_SEED = 7n;
/** How fast a dump is, about. */
const [DUMP_STEP_BYTES, DUMP_STEP_MS] = [2 ** 20, 1];

/** Pages next to each other, from page number `page` on. */
export interface Run {
  readonly page: number;
  readonly content: Buffer;
}
export interface ObjectMemory {
  readonly object: bigint;
  /** In the order in which they are sent. */
  readonly runs: readonly Run[];
}

const [PRESENT, ADD_F, OPEN2, CLOSE] = [4, 6, 4, 0x1023];
const FACTS = {
  epoch: 1,
  frozenAt: 1,
  criuVersion: '4.2.1',
  runtime: 'process',
  image: null,
  rootPid: 1000,
  cpuFeatures: [],
};

export class Chain implements AsyncDisposable {
  readonly directory: string;
  readonly store: Store;
  readonly prefix = 'jobs/a/';
  keys: readonly string[] | undefined;
  /** Memory comes as images, which grow while they are followed, and not as a stream. */
  isFromImages = false;
  /** As in `FollowOrder`. */
  mayStore = false;
  /** The last checkpoint, on which the next is built; null for one that stands by itself. */
  last: string | null = null;
  readonly #codec = new Codec(defaultToolbox());
  #sequence = 0;

  private constructor(directory: string, store: Store, keys: readonly string[] | undefined) {
    this.directory = directory;
    this.store = store;
    this.keys = keys;
  }

  /** In an empty folder. `keys`: as in `CheckpointPlace`. */
  static async make(directory: string, keys?: readonly string[]): Promise<Chain> {
    await mkdir(join(directory, 'control'), { recursive: true });
    return new Chain(directory, await openStore(`file://${join(directory, 'store')}`), keys);
  }

  get digestsDirectory(): string {
    return join(this.directory, 'digests');
  }

  /** `folders`: images and files, to be saved too. */
  async take(memory: readonly ObjectMemory[], splitBytes = 2 ** 20, folders?: FreezeFolders): Promise<Manifest> {
    const id = checkpointId(1, ++this.#sequence);
    const order = {
      place: { storeUrl: `file://${join(this.directory, 'store')}`, prefix: this.prefix, encryptionKeys: this.keys },
      checkpointId: id,
      baseId: this.last,
      digestsDirectory: this.digestsDirectory,
      toolboxDirectory: defaultToolbox(),
    };
    await using save = await Save.open(order, () => undefined);
    if (this.isFromImages) {
      await save.readFiles(
        await this.#dump(memory, (imagesDirectory) => save.followImages({ imagesDirectory, mayStore: this.mayStore })),
      );
    } else {
      const sent = await this.#send(encodeStream(memory), splitBytes, (controlDirectory) =>
        save.receivePages(controlDirectory, [4, 2, 1]),
      );
      if (!sent.isWhole) throw new Error('The stream was not whole.');
    }
    if (folders) await save.readFiles(folders);
    await save.commit(FACTS);
    this.last = id;
    return requireManifest(this.store, this.prefix, id);
  }

  async index(id: string): Promise<Index> {
    const source = { store: this.store, prefix: this.prefix, keyRing: KeyRing.of(this.keys) };
    return (await openCheckpoint(source, id)).index;
  }

  /** What a checkpoint has, read and verified. `keepDigests`: as a thaw does for the freeze that follows. */
  async read(id: string, { keepDigests = false } = {}): Promise<ObjectMemory[]> {
    const source = { store: this.store, prefix: this.prefix, keyRing: KeyRing.of(this.keys) };
    const reader = await CheckpointReader.open(source, id, this.#codec, DIGEST_SEED);
    const { chunks, memory } = reader.index;
    const contents = new Map<number, Uint8Array>();
    const numbers = memory.flatMap(({ pieces }) => pieces.map((piece) => partOf(piece, chunks)?.chunk ?? -1));
    using digests = keepDigests ? new DigestFiller(this.digestsDirectory, reader.index, DIGEST_SEED) : null;
    await reader.readChunks(
      numbers.filter((number) => number >= 0),
      (number, content, pageDigests) => {
        contents.set(number, Buffer.from(content));
        digests?.chunkRead(number, pageDigests);
      },
    );
    digests?.keep(id);
    return memory.map(({ object, ranges, pieces }) => {
      const parts = pieces.map((piece) => {
        const { chunk = null, offset = 0, sizeBytes = 0 } = partOf(piece, chunks) ?? {};
        return chunk === null
          ? Buffer.alloc(sizeBytes)
          : (contents.get(chunk) ?? Buffer.alloc(0)).subarray(offset, offset + sizeBytes);
      });
      const whole = Buffer.concat(parts);
      let at = 0;
      const runs = ranges.map(([address, pages]) => {
        const content = whole.subarray(at, at + pages * PAGE_BYTES);
        at += content.length;
        return { page: Number(BigInt(address) / BigInt(PAGE_BYTES)), content };
      });
      return { object: BigInt(object), runs };
    });
  }

  /** Bytes of all packs that there are. */
  async packBytes(): Promise<number> {
    const objects = await Array.fromAsync(this.store.list(`${this.prefix}packs/`));
    return objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }

  /** As CRIU does: pages first, the pagemap that says where they belong last. */
  async #dump(memory: readonly ObjectMemory[], follow: (directory: string) => void): Promise<FreezeFolders> {
    const [imagesDirectory, filesDirectory] = [join(this.directory, 'images'), join(this.directory, 'no-files')];
    await rm(imagesDirectory, { recursive: true, force: true });
    for (const folder of [imagesDirectory, join(filesDirectory, 'logs')]) await mkdir(folder, { recursive: true });
    for (const log of ['stdout', 'stderr']) await writeFile(join(filesDirectory, 'logs', log), '');
    follow(imagesDirectory);
    for (const [at, { object, runs }] of memory.entries()) {
      const ranges: PageRange[] = [];
      await using pages = await open(join(imagesDirectory, pagesName(at + 1)), 'w');
      for (const { page, content } of runs) {
        ranges.push([BigInt(page * PAGE_BYTES), content.length / PAGE_BYTES, PRESENT]);
        for (let from = 0; from < content.length; from += DUMP_STEP_BYTES) {
          await pages.write(content.subarray(from, from + DUMP_STEP_BYTES));
          await setTimeout(DUMP_STEP_MS);
        }
      }
      await writeFile(join(imagesDirectory, pagemapName(object)), encodePagemap(at + 1, ranges));
    }
    return { imagesDirectory, filesDirectory };
  }

  async #send<T>(stream: Buffer, splitBytes: number, receive: (controlDirectory: string) => Promise<T>): Promise<T> {
    const controlDirectory = join(this.directory, 'control');
    const path = join(controlDirectory, controlFiles.pages);
    const server = createServer((socket) => {
      socket.on('error', () => undefined); // its end is the receiver's affair
      socket.resume();
      for (let at = 0; at < stream.length; at += splitBytes) socket.write(stream.subarray(at, at + splitBytes));
      socket.end();
    });
    server.listen(path);
    await once(server, 'listening');
    try {
      return await receive(controlDirectory);
    } finally {
      server.close();
      await rm(path, { force: true });
    }
  }
}

function encodeStream(memory: readonly ObjectMemory[]): Buffer {
  const parts = memory.flatMap(({ object, runs }) => [
    header(OPEN2, object),
    ...runs.flatMap(({ page, content }) => [
      header((PRESENT << 16) | ADD_F, object, page, content.length / PAGE_BYTES),
      content,
    ]),
  ]);
  return Buffer.concat([...parts, header(CLOSE, 0n)]);
}

function header(command: number, object: bigint, page = 0, pages = 0): Buffer {
  const bytes = Buffer.alloc(32);
  bytes.writeUInt32LE(command, 0);
  bytes.writeBigUInt64LE(BigInt(pages), 8);
  bytes.writeBigUInt64LE(BigInt(page * PAGE_BYTES), 16);
  bytes.writeBigUInt64LE(object, 24);
  return bytes;
}
