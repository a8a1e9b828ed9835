import { addAbortSignal, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';

/**
 * `source`, whose errors come out as `explain` makes them and which ends with `signal`. Closing either closes both.
 * `atEnd` gets the bytes that came, and may return an error.
 */
export function guardStream(
  source: Readable,
  explain: (error: unknown) => unknown,
  { signal, atEnd }: { signal?: AbortSignal | undefined; atEnd?: (sizeBytes: number) => Error | undefined } = {},
): Readable {
  if (signal) addAbortSignal(signal, source);
  async function* chunks(): AsyncGenerator<Buffer> {
    let sizeBytes = 0;
    try {
      for await (const chunk of source) {
        sizeBytes += chunk.length;
        yield chunk;
      }
    } catch (error) {
      throw explain(error);
    }
    const error = atEnd?.(sizeBytes);
    if (error) throw error;
  }
  const guarded = Readable.from(chunks(), { objectMode: false });
  // A generator that nobody has begun to read cannot clean up.
  guarded.once('close', () => source.destroy());
  return guarded;
}

/**
 * Reads `source` to its end into `bytes`, from their beginning on. Resolves to how many it has, of which those beyond the end of `bytes` are
 * lost. Rejects with its error, or the signal's. By events: a loop over what arrives takes three times the processor time.
 */
export async function fill(bytes: Uint8Array, source: Readable, signal?: AbortSignal): Promise<number> {
  let sizeBytes = 0;
  source.on('data', (chunk: Uint8Array) => {
    if (sizeBytes < bytes.length) bytes.set(chunk.subarray(0, bytes.length - sizeBytes), sizeBytes);
    sizeBytes += chunk.length;
  });
  if (signal) addAbortSignal(signal, source);
  await finished(source);
  return sizeBytes;
}
