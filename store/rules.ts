/** What every driver asks of its callers, and the parts of the contract that are the same for all of them. */
import { randomUUID } from 'node:crypto';
import { type ByteRange, type Cancellable, type Store, StoreError } from './store.ts';

const segment = /^(?!\.{1,2}$)[A-Za-z0-9._=-]{1,250}$/;
const keyAtMost = 900;

/** @throws StoreError `invalid` */
export function checkKey(key: string): void {
  if (key.length <= keyAtMost && key.split('/').every((part) => segment.test(part))) return;
  throw new StoreError(
    'invalid',
    `"${key}" is not a key.`,
    `Use segments of letters, digits and ._=- joined by "/", ${keyAtMost} characters at most.`,
  );
}

/** A prefix is the beginning of a key, so its last segment may be empty or unfinished. @throws StoreError `invalid` */
export function checkPrefix(prefix: string): void {
  checkKey(`${prefix}x`);
}

/** @throws StoreError `invalid` */
export function checkRange({ offsetBytes, lengthBytes }: ByteRange): void {
  if (Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes) && offsetBytes >= 0 && lengthBytes >= 0)
    return;
  throw new StoreError(
    'invalid',
    `There is no range of ${lengthBytes} bytes at ${offsetBytes}.`,
    'Use whole numbers, 0 or more.',
  );
}

export function noSuchObject(key: string, url: string, cause?: unknown): StoreError {
  return new StoreError('notFound', `There is no object ${key} in ${url}.`, 'Check the key and the store.', { cause });
}

export function objectExists(key: string, url: string, cause?: unknown): StoreError {
  return new StoreError('exists', `The object ${key} exists already in ${url}.`, 'Use what the first writer wrote.', {
    cause,
  });
}

export function objectTooShort(key: string, hasBytes: number, wantedBytes: number): StoreError {
  return new StoreError(
    'damaged',
    `The object ${key} has ${hasBytes} bytes where ${wantedBytes} were expected.`,
    'Use an older checkpoint; check the storage for faults.',
  );
}

/** `Store.check` for any driver: one object there and back. */
export async function checkByRoundTrip(store: Store, options: Cancellable = {}): Promise<void> {
  const key = `.check/${randomUUID()}`;
  const written = Buffer.from(key);
  await store.create(key, written, options);
  const read = await store.get(key, options);
  await store.delete([key], options);
  if (!read.equals(written)) throw objectTooShort(key, read.length, written.length);
}
