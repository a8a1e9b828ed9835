/** Looks for secrets in all that is left of jobs: objects of the store, what checkpoints hold, values in Redis, workers' logs. */
import { createReadStream } from 'node:fs';
import { promisify } from 'node:util';
import { createZstdDecompress, zstdDecompress } from 'node:zlib';
import { storeKeys } from '../../jobs/index.ts';
import type { Stage } from './stage.ts';

/** Of what unpacks to more, this much is searched: it may be a bomb. */
const MOST_BYTES = 64 * 2 ** 20;
const MOST_CHUNK_BYTES = 2 ** 20;
const decompress = promisify(zstdDecompress);

/** Names of the secrets in what the store has of a job. */
export async function secretsLeftBy(stage: Stage, id: string): Promise<string[]> {
  const { store, tokens } = stage.parts;
  const found = new Set<string>();
  for await (const { key } of store.list(storeKeys.job(id))) {
    if (key.includes('/packs/')) continue; // searched by their index
    const names = await tokens.namesInStream(await store.getStream(key), MOST_BYTES);
    if (key.endsWith('.zst')) for (const name of await secretsInArchive(stage, key)) names.add(name);
    if (key.includes('/index/')) for (const name of await secretsInCheckpoint(stage, key)) names.add(name);
    for (const name of names) found.add(name);
  }
  return [...found];
}

async function secretsInArchive({ parts: { store, tokens } }: Stage, key: string): Promise<Set<string>> {
  const stored = await store.getStream(key);
  const plain = stored.pipe(createZstdDecompress());
  try {
    return await tokens.namesInStream(plain, MOST_BYTES);
  } catch {
    return new Set(); // no archive, as forged ones may be; its bytes have been searched
  } finally {
    stored.destroy();
    plain.destroy();
  }
}

/** docs/format.md: the index has for each chunk its id, pack, place and sizes; a chunk is one zstd frame. */
async function secretsInCheckpoint({ parts: { store, tokens } }: Stage, indexKey: string): Promise<Set<string>> {
  const found = new Set<string>();
  const prefix = indexKey.slice(0, indexKey.indexOf('index/'));
  const manifestKey = indexKey.replace(/index\/([^/]+)$/, 'manifests/$1.json');
  try {
    const manifest = JSON.parse(String(await store.get(manifestKey))) as { packs: { key: string }[] };
    const index = await decompress(await store.get(indexKey), { maxOutputLength: MOST_BYTES });
    for (const name of tokens.namesIn(index)) found.add(name);
    const { chunks } = JSON.parse(String(index)) as { chunks: [string, number, number, number, number][] };
    for (const [number, { key }] of manifest.packs.entries()) {
      const pack = await store.get(`${prefix}${key}`);
      for (const [, of, offset, storedBytes] of chunks) {
        if (of !== number) continue;
        const frame = pack.subarray(offset, offset + storedBytes);
        const content = await decompress(frame, { maxOutputLength: MOST_CHUNK_BYTES });
        for (const name of tokens.namesIn(content)) found.add(name);
      }
    }
  } catch {
    return found; // sealed, or not committed
  }
  return found;
}

/** Names of the secrets in Redis, but for what belongs to the jobs `owners`, and in the workers' logs. */
export async function secretsInCommon(stage: Stage, owners: readonly string[]): Promise<string[]> {
  const { client, tokens } = stage.parts;
  const found = new Set<string>();
  for await (const keys of client.scanStream({ count: 500 }) as AsyncIterable<string[]>) {
    for (const key of keys) {
      if (owners.some((id) => key.includes(id))) continue;
      for (const name of tokens.namesIn(await readValue(stage, key))) found.add(`${name}, in Redis at ${key}`);
    }
  }
  for (const file of new Set(stage.workers.map(({ logFile }) => logFile))) {
    const names = await tokens.namesInStream(createReadStream(file), Number.POSITIVE_INFINITY);
    for (const name of names) found.add(`${name}, in ${file}`);
  }
  return [...found];
}

/** All of a value, of whatever type. */
async function readValue({ parts: { client } }: Stage, key: string): Promise<Buffer> {
  const read: Record<string, () => Promise<unknown>> = {
    string: () => client.get(key),
    hash: () => client.hgetall(key),
    list: () => client.lrange(key, 0, -1),
    set: () => client.smembers(key),
    zset: () => client.zrange(key, '0', '-1'),
    stream: () => client.xrange(key, '-', '+'),
  };
  const value = await read[await client.type(key)]?.();
  return Buffer.from(JSON.stringify(value ?? null));
}
