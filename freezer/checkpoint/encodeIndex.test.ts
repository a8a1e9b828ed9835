/** What may be committed is what can be read again. */
import { expect, test } from 'vitest';
import { encodeIndex } from './encodeIndex.ts';
import type { Index } from './format.ts';
import { parseIndex } from './openCheckpoint.ts';

const ID = '00000001-000001';

function indexOf(path: string): Index {
  const attributes = { mode: 0o644, uid: 0, gid: 0, modifiedAtMs: 1 };
  return {
    chunks: [],
    memory: [],
    images: [],
    files: [{ type: 'file', path, ...attributes, sizeBytes: 0, pieces: [] }],
  };
}

test('an index up to the bound is read again; one byte more is refused, in letters of several bytes too', async () => {
  for (const letter of ['a', 'ä']) {
    const index = indexOf(letter.repeat(1000));
    const bytes = Buffer.byteLength(JSON.stringify(index));
    expect(await parseIndex(await encodeIndex(index, bytes), { id: ID, packs: [] })).toEqual(index);
    await expect(encodeIndex(index, bytes - 1)).rejects.toMatchObject({ code: 'cannotFreeze' });
  }
});

test('an index that is longer than any string can be is refused like any that is too large', async () => {
  const files = new Array(9).fill(indexOf('a'.repeat(2 ** 26)).files[0]);
  await expect(encodeIndex({ ...indexOf('a'), files })).rejects.toMatchObject({ code: 'cannotFreeze' });
});
