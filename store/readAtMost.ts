/** Objects that are to be small, and are in a store whose writers are not trusted. */
import { type Cancellable, type Store, StoreError } from './store.ts';

/** The whole object. Rejects as `Store.getStream`, and with `damaged` for one that is larger than `mostBytes`, of which no more is read. */
export async function readAtMost(
  store: Store,
  key: string,
  mostBytes: number,
  options: Cancellable = {},
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  // A loop that is left destroys the stream, and with it the request.
  for await (const part of await store.getStream(key, options)) {
    if (!Buffer.isBuffer(part)) throw new TypeError('The store gave something other than bytes.');
    parts.push(part);
    sizeBytes += part.length;
    if (sizeBytes > mostBytes) throw tooLarge(key, mostBytes);
  }
  return Buffer.concat(parts);
}

function tooLarge(key: string, mostBytes: number): StoreError {
  return new StoreError(
    'damaged',
    `The object ${key} has more than ${mostBytes} bytes, which nothing of its kind has.`,
    'Find out who wrote it, and remove it.',
  );
}
