/** Object storage as Floe needs it: whole, immutable objects under keys, some of which may be created only once. */
import type { Readable } from 'node:stream';

/**
 * Why a store said no.
 * - `notFound`: there is no such object, bucket or folder.
 * - `exists`: a create-only write met an object; somebody else was first.
 * - `denied`: wrong or missing credentials, or not allowed.
 * - `unreachable`: no answer, after retries.
 * - `full`: no space, or over quota.
 * - `damaged`: fewer or other bytes than were asked for or written.
 * - `invalid`: a malformed store URL or key; a path that leaves its folder or is too long.
 * - `tooLarge`: more bytes or files than the limits allow.
 * - `unreadable`: the files that are to be stored cannot be read; the store has no part in it.
 * - `substituted`: another object lies in the place of the one that was written.
 * - `failed`: anything else; `cause` has it.
 */
export type StoreErrorCode =
  | 'notFound'
  | 'exists'
  | 'denied'
  | 'unreachable'
  | 'full'
  | 'damaged'
  | 'invalid'
  | 'tooLarge'
  | 'unreadable'
  | 'substituted'
  | 'failed';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  /** What the reader can do about it, one sentence. */
  readonly remedy: string;

  constructor(code: StoreErrorCode, message: string, remedy: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

export interface StoredObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
}

export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface Cancellable {
  /** Cancels the call; it then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * One contract for every driver; `conformance.ts` is its executable form.
 *
 * Keys are `/`-separated paths of `[A-Za-z0-9._=-]` segments, relative to the store's URL; no empty, `.` or `..` segment;
 * at most 900 characters, 250 in a segment. No key is a folder of another (`a` and `a/b`): a file system cannot hold both.
 * A write is whole or absent: no reader ever sees half an object, even when the writer is killed. A write that
 * resolved is durable and visible to every later `get` and `list`. Every call rejects with a `StoreError`.
 */
export interface Store extends AsyncDisposable {
  /** The URL that opened it, without credentials. */
  readonly url: string;

  /** Creates an object; `exists` if there is one, atomically even among racing writers. Parts are joined in order. */
  create(key: string, body: Uint8Array | readonly Uint8Array[], options?: Cancellable): Promise<void>;

  /** Writes a stream of unknown length, replacing what was there. Bounded memory. Resolves to the size written. */
  putStream(key: string, body: Readable, options?: Cancellable): Promise<{ sizeBytes: number }>;

  /** The whole object, or just `range`, in memory that is the caller's alone. `damaged` when the object ends before the range does. */
  get(key: string, options?: Cancellable & { range?: ByteRange }): Promise<Buffer>;

  /** The whole object as a stream, for sizes that memory should not hold. */
  getStream(key: string, options?: Cancellable): Promise<Readable>;

  /** Every object whose key begins with `prefix`, in ascending byte order of the key. */
  list(prefix: string, options?: Cancellable): AsyncIterable<StoredObject>;

  /** Deletes objects; one that is not there is no error. */
  delete(keys: readonly string[], options?: Cancellable): Promise<void>;

  /** Resolves when the store can be reached, read and written with these credentials; writes and deletes one object. */
  check(options?: Cancellable): Promise<void>;
}
