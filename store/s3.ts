/**
 * A store in a bucket of any S3 service that has conditional writes (`If-None-Match: *`): AWS, Ceph, and others.
 * S3 itself makes a write whole or absent, and strongly consistent.
 */
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import pRetry from 'p-retry';
import type { S3Location, StoreOptions } from './open.ts';
import { checkByRoundTrip, checkKey, checkPrefix, checkRange, objectTooShort } from './rules.ts';
import { attachBody } from './s3Body.ts';
import { attemptsOf, explainSdkError, isConflict } from './s3Errors.ts';
import type { ByteRange, Cancellable, Store, StoredObject } from './store.ts';
import { fill, guardStream } from './stream.ts';

/** With a connection that takes 3 s to fail, a dead endpoint is known for dead in about 10 s. */
const attempts = 3;
const connectionTimeoutMs = 3_000;
/** No byte for this long, and the request counts as failed. */
const silenceTimeoutMs = 60_000;
/** S3 takes 10,000 parts, so a stream may have 312 GiB; three parts are in memory at a time. */
const partSizeBytes = 32 * 2 ** 20;
const partsAtOnce = 3;
/** The most that one request may delete. */
const deleteAtOnce = 1000;

export function openS3Store(location: S3Location, options: StoreOptions): Store {
  return new S3Store(location, options);
}

function clientFor({ endpoint, region, pathStyle }: S3Location): S3Client {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION } = process.env;
  const hasOwnEndpoint = Boolean(endpoint || AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL);
  const knownRegion = region ?? (hasOwnEndpoint && !AWS_REGION ? 'us-east-1' : undefined);
  return new S3Client({
    ...(endpoint && { endpoint }),
    ...(knownRegion && { region: knownRegion }),
    forcePathStyle: pathStyle ?? hasOwnEndpoint,
    maxAttempts: attempts,
    requestHandler: { connectionTimeout: connectionTimeoutMs, socketTimeout: silenceTimeoutMs },
  });
}

class S3Store implements Store {
  readonly url: string;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #pageSizeKeys: number;

  constructor(location: S3Location, { pageSizeKeys = 1000 }: StoreOptions) {
    this.url = location.url;
    this.#client = clientFor(location);
    this.#bucket = location.bucket;
    this.#prefix = location.prefix;
    this.#pageSizeKeys = pageSizeKeys;
  }

  async create(key: string, body: Uint8Array | readonly Uint8Array[], { signal }: Cancellable = {}): Promise<void> {
    checkKey(key);
    const parts = body instanceof Uint8Array ? [body] : body;
    let isRepeat = false;
    const attempt = async () => {
      try {
        const put = new PutObjectCommand({ ...this.#object(key), IfNoneMatch: '*' });
        attachBody(put, parts);
        await this.#client.send(put, abortWith(signal));
      } catch (error) {
        const mayHaveWritten = isRepeat || attemptsOf(error) > 1;
        isRepeat = true;
        if (mayHaveWritten && !isConflict(error) && (await this.#isOurs(key, parts, error, signal))) return;
        throw error;
      }
    };
    await this.#translate(key, signal, () =>
      pRetry(attempt, {
        shouldRetry: ({ error }) => isConflict(error),
        retries: 5,
        minTimeout: 50,
        ...(signal && { signal }),
      }),
    );
  }

  async putStream(key: string, body: Readable, { signal }: Cancellable = {}): Promise<{ sizeBytes: number }> {
    checkKey(key);
    return this.#translate(key, signal, () => this.#upload(key, body, signal));
  }

  async get(key: string, { range, signal }: Cancellable & { range?: ByteRange } = {}): Promise<Buffer> {
    checkKey(key);
    if (range) checkRange(range);
    return this.#translate(key, signal, async () => {
      if (range?.lengthBytes === 0) return this.#getNothing(key, range.offsetBytes, signal);
      const bytes = await this.#getWhole(key, range, signal);
      const wantedBytes = range?.lengthBytes;
      if (wantedBytes !== undefined && bytes.length !== wantedBytes)
        throw objectTooShort(key, bytes.length, wantedBytes);
      return bytes;
    });
  }

  async getStream(key: string, { signal }: Cancellable = {}): Promise<Readable> {
    checkKey(key);
    const { Body, ContentLength } = await this.#translate(key, signal, () => this.#send(key, undefined, signal));
    return guardStream(Body as Readable, (error) => this.#explain(key, error, signal), {
      signal,
      atEnd: (sizeBytes) =>
        sizeBytes === ContentLength ? undefined : objectTooShort(key, sizeBytes, ContentLength ?? 0),
    });
  }

  async *list(prefix: string, { signal }: Cancellable = {}): AsyncIterable<StoredObject> {
    checkPrefix(prefix);
    const paging = { client: this.#client, pageSize: this.#pageSizeKeys };
    const request = { Bucket: this.#bucket, Prefix: `${this.#prefix}${prefix}` };
    try {
      for await (const { Contents = [] } of paginateListObjectsV2(paging, request, abortWith(signal))) {
        for (const { Key = '', Size = 0, LastModified = new Date(0) } of Contents) {
          signal?.throwIfAborted();
          yield { key: Key.slice(this.#prefix.length), sizeBytes: Size, modifiedAt: LastModified };
        }
      }
    } catch (error) {
      throw this.#explain(prefix, error, signal);
    }
  }

  async delete(keys: readonly string[], { signal }: Cancellable = {}): Promise<void> {
    for (const key of keys) checkKey(key);
    for (let first = 0; first < keys.length; first += deleteAtOnce) {
      const batch = keys.slice(first, first + deleteAtOnce);
      const Objects = batch.map((key) => ({ Key: `${this.#prefix}${key}` }));
      const request = new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } });
      await this.#translate(batch[0] ?? '', signal, async () => {
        const { Errors = [] } = await this.#client.send(request, abortWith(signal));
        const refused = Errors.find(({ Code }) => Code !== 'NoSuchKey');
        if (refused)
          throw Object.assign(new Error(`${refused.Key}: ${refused.Message}`), { name: refused.Code ?? 'Error' });
      });
    }
  }

  check(options: Cancellable = {}): Promise<void> {
    return checkByRoundTrip(this, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
  }

  /** A source that fails, ends too soon or is aborted destroys `counted`, and with it the upload: S3 forgets the parts. */
  async #upload(key: string, body: Readable, signal?: AbortSignal): Promise<{ sizeBytes: number }> {
    let sizeBytes = 0;
    const counted = new Transform({
      transform(chunk, _encoding, done) {
        sizeBytes += chunk.length;
        done(null, chunk);
      },
    });
    const params = { ...this.#object(key), Body: counted };
    const upload = new Upload({ client: this.#client, partSize: partSizeBytes, queueSize: partsAtOnce, params });
    const abort = () => upload.abort();
    signal?.addEventListener('abort', abort);
    const [fed, uploaded] = await Promise.allSettled([
      pipeline(body, counted, signal ? { signal } : {}),
      upload.done().finally(() => counted.destroy()),
    ]);
    signal?.removeEventListener('abort', abort);
    if (uploaded.status === 'rejected') throw uploaded.reason;
    if (fed.status === 'rejected') throw fed.reason;
    return { sizeBytes };
  }

  /**
   * An answer may be lost after S3 has written; the repeat then meets our own object and is told 412. Equal bytes
   * are taken for ours. Writers that must not be confused write different bytes.
   */
  async #isOurs(key: string, parts: readonly Uint8Array[], error: unknown, signal?: AbortSignal): Promise<boolean> {
    if (explainSdkError(error, key).code !== 'exists') return false;
    return (await this.#getWhole(key, undefined, signal)).equals(Buffer.concat(parts));
  }

  /** S3 has no range of no bytes. */
  async #getNothing(key: string, offsetBytes: number, signal?: AbortSignal): Promise<Buffer> {
    const { ContentLength = 0 } = await this.#client.send(new HeadObjectCommand(this.#object(key)), abortWith(signal));
    if (offsetBytes > ContentLength) throw objectTooShort(key, ContentLength, offsetBytes);
    return Buffer.alloc(0);
  }

  /** The SDK repeats a request, but not one whose answer breaks off. */
  async #getWhole(key: string, range: ByteRange | undefined, signal?: AbortSignal): Promise<Buffer> {
    for (let attempt = 1; ; attempt++) {
      const { Body, ContentLength = 0 } = await this.#send(key, range, signal);
      try {
        const bytes = Buffer.allocUnsafeSlow(ContentLength);
        const filledBytes = await fill(bytes, Body as Readable, signal);
        if (filledBytes !== ContentLength) throw objectTooShort(key, filledBytes, ContentLength);
        return bytes;
      } catch (error) {
        if (attempt === attempts || signal?.aborted) throw error;
      }
    }
  }

  #send(key: string, range: ByteRange | undefined, signal?: AbortSignal): Promise<GetObjectCommandOutput> {
    const Range = range && `bytes=${range.offsetBytes}-${range.offsetBytes + range.lengthBytes - 1}`;
    return this.#client.send(
      new GetObjectCommand({ ...this.#object(key), ...(Range && { Range }) }),
      abortWith(signal),
    );
  }

  #object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${key}` };
  }

  async #translate<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw this.#explain(key, error, signal);
    }
  }

  #explain(key: string, error: unknown, signal?: AbortSignal): unknown {
    return signal?.aborted ? signal.reason : explainSdkError(error, `${key || 'objects'} in ${this.url}`);
  }
}

function abortWith(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal ? { abortSignal: signal } : {};
}
