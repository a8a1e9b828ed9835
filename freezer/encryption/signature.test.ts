/** What somebody without the key can make of a signed object: nothing that is believed. */
import { describe, expect, test } from 'vitest';
import { KeyRing } from './keyRing.ts';
import { Signatures } from './signature.ts';

const [A, B] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString('base64')) as [string, string];
const HOME = 's3://bucket/floe';
const KEY = 'jobs/default-abcdefghij/fence/00000001';
const CONTENT = { epoch: 1, thawsFrom: null, nested: { b: 1, a: [2] } };
const of = (keys: string[], home = HOME) => new Signatures(KeyRing.of(keys), home);

describe('a signed object', () => {
  test('is read by every process that has the key, current or not', async () => {
    const bytes = await of([A]).sign(KEY, CONTENT);
    for (const keys of [[A], [B, A]]) {
      expect(await of(keys).read(KEY, bytes)).toEqual({ kind: 'signed', content: CONTENT });
    }
    await expect(of([B]).read(KEY, bytes)).rejects.toMatchObject({ code: 'wrongKey' });
    expect(await of([]).read(KEY, bytes)).toEqual({ kind: 'unsigned', content: CONTENT });
  });

  test('is the same bytes each time, so that a create can be repeated', async () => {
    const signatures = of([A]);
    expect(await signatures.sign(KEY, CONTENT)).toEqual(await signatures.sign(KEY, CONTENT));
  });

  test.for([
    ['in another job', KEY.replace('abcdefghij', 'bbbbbbbbbb')],
    ['of another epoch', KEY.replace('1', '2')],
    ['as another kind', 'jobs/default-abcdefghij/result.json'],
  ] as const)('is refused %s', async ([, key]) => {
    const bytes = await of([A]).sign(KEY, CONTENT);
    expect(await of([A]).read(key, bytes)).toMatchObject({ kind: 'forged' });
  });

  test.each(['s3://other/floe', 's3://bucket/other'])('is refused in another store, by its name: %s', async (home) => {
    const bytes = await of([A]).sign(KEY, CONTENT);
    await expect(of([A], home).read(KEY, bytes)).rejects.toMatchObject({ code: 'otherStore' });
  });

  test('is read in another store where the operator says that it has moved, and only there', async () => {
    const bytes = await of([A]).sign(KEY, CONTENT);
    expect(await of([A, 'moved'], 's3://other').read(KEY, bytes)).toMatchObject({ kind: 'signed' });
    expect(await of([A, 'moved'], 's3://other').read(`${KEY}1`, bytes)).toMatchObject({ kind: 'forged' });
  });

  test('is refused with anything in it changed', async () => {
    const text = String(await of([A]).sign(KEY, CONTENT));
    const stored = JSON.parse(text);
    const { signature } = stored;
    const changed = [
      { ...stored, epoch: 2 },
      { ...stored, more: 1 },
      { ...stored, signature: { ...signature, mac: '0'.repeat(64) } },
      { ...stored, signature: { ...signature, home: 's3://other' } },
      { ...stored, signature: { ...signature, wrappedKey: Buffer.alloc(60).toString('base64') } },
      { ...stored, signature: 'none' },
      { ...stored, signature: null },
    ];
    for (const each of changed) {
      expect(await of([A]).read(KEY, Buffer.from(JSON.stringify(each))), JSON.stringify(each)).toMatchObject({
        kind: 'forged',
      });
    }
    for (const bytes of ['', 'null', '[]', '"text"', text.slice(1)]) {
      expect(await of([A]).read(KEY, Buffer.from(bytes))).toMatchObject({ kind: 'forged' });
    }
  });

  test('is told from one without a signature', async () => {
    const bytes = Buffer.from(JSON.stringify(CONTENT));
    expect(await of([A]).read(KEY, bytes)).toEqual({ kind: 'unsigned', content: CONTENT });
  });
});
