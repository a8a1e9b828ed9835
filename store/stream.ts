import { addAbortSignal, Readable } from 'node:stream';

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
