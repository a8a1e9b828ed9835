/** An index as it is stored, but for its seal. What could not be read again is refused: no manifest may ever name it. */
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import { FreezerError } from '../errors.ts';
import { type Index, MOST_INDEX_BYTES } from './format.ts';

/** Rejects with `FreezerError` `cannotFreeze` where the JSON would have more than `mostBytes`. */
export async function encodeIndex(index: Index, mostBytes = MOST_INDEX_BYTES): Promise<Buffer> {
  const json = Buffer.from(stringify(index, mostBytes));
  if (json.length > mostBytes) throw tooLarge(index, mostBytes);
  return await promisify(zstdCompress)(json);
}

function stringify(index: Index, mostBytes: number): string {
  try {
    return JSON.stringify(index);
  } catch (error) {
    // Longer than any string can be.
    if (error instanceof RangeError) throw tooLarge(index, mostBytes);
    throw error;
  }
}

function tooLarge({ files, chunks }: Index, mostBytes: number): FreezerError {
  return new FreezerError(
    'cannotFreeze',
    `The job cannot be frozen: the list of its ${files.length} files and ${chunks.length} parts has more than ${mostBytes} bytes.`,
    'Let the job keep fewer files: about a million can move with it; put many small ones into an archive.',
  );
}
