/** Who has which key can read and go on with what; manifests are as they were written, for the job they were written for. */
import { describe, expect, test } from 'vitest';
import { BOUND_VERSION, type Manifest, PLAIN_VERSION } from '../checkpoint/format.ts';
import type { FreezerErrorCode } from '../errors.ts';
import { keysToWrite, keysToRead as readKeys } from './dataKey.ts';
import { KeyRing } from './keyRing.ts';
import { isAuthentic, signManifest, type UnsignedManifest } from './manifestMac.ts';

const A = Buffer.alloc(32, 1).toString('base64');
const B = Buffer.alloc(32, 2).toString('hex');
const [onlyA, onlyB, bThenA, none] = [KeyRing.of([A]), KeyRing.of([B]), KeyRing.of([B, A]), KeyRing.of()];
const PREFIX = 'jobs/a/checkpoints/';
const HOME = 's3://bucket/floe';

function keysToRead(
  manifest: Manifest,
  prefix: string,
  keyRing: KeyRing,
  more: { home?: string; isPrefixOwn?: boolean } = {},
) {
  return readKeys(manifest, { prefix, home: HOME, isPrefixOwn: true, keyRing, ...more });
}

const because = (code: FreezerErrorCode) => expect.objectContaining({ name: 'FreezerError', code });

async function newKeys(ring: KeyRing) {
  const { keys, wrapped, goesOn } = await keysToWrite(null, ring);
  if (!keys || !wrapped) throw new Error('Nothing is encrypted.');
  return { keys, wrapped, goesOn };
}

async function signed(
  ring: KeyRing,
  version: Pick<Manifest, 'version' | 'home'> = { version: BOUND_VERSION, home: HOME },
): Promise<Manifest> {
  const { keys, wrapped } = await newKeys(ring);
  const manifest: UnsignedManifest = {
    ...{ ...version, id: '00000001-000001', epoch: 1, frozenAt: 1, criuVersion: '4.2.1', kernel: '6.18' },
    ...{ architecture: 'x64', cpuFeatures: ['avx'], runtime: 'process', image: null, rootPid: 1000, base: null },
    ...{ logSizes: { stdout: 1, stderr: 2 }, memoryBytes: 3, fileBytes: 4, sentBytes: 5 },
    index: { key: 'index/00000001-000001', sizeBytes: 6, sha256: '0'.repeat(64) },
    packs: [{ key: 'packs/00000001-000001-000000', sizeBytes: 7 }],
    encryption: wrapped,
  } as UnsignedManifest;
  return signManifest(keys.manifest, manifest, PREFIX);
}

describe('a key', () => {
  test.each([
    ['base64', A],
    ['hexadecimal', B],
    ['KMS', 'kms:alias/floe'],
    ['KMS', 'kms:arn:aws:kms:eu-west-1:1:key/a-b'],
  ])('may be given as %s', (_kind, text) => expect(KeyRing.of([text]).current).not.toBeNull());

  test.each(['', 'secret', A.slice(1), `${A}=`, B.slice(2), `${B}0`, 'kms:', 'kms:a b', ` ${A}`, 'aws:secret'])(
    '%j is none, and is not repeated in the message',
    (text) => {
      expect(() => KeyRing.of([A, text])).toThrow(because('wrongKey'));
      expect(() => KeyRing.of([text])).not.toThrow(
        expect.objectContaining({ message: expect.stringMatching(/secret/) }),
      );
    },
  );

  test('has an id that does not change and has nothing of it', () => {
    const name = KeyRing.of([B]).current?.name;
    expect(name).toBe(onlyB.current?.name);
    expect(name).toMatch(/^local:[0-9a-f]{16}$/);
    expect(name).not.toContain('0202');
  });
});

describe('the data key of a job', () => {
  test('stays the same from checkpoint to checkpoint, and differs from job to job', async () => {
    const first = await newKeys(onlyA);
    expect(first.goesOn).toBe(false);
    expect(await keysToWrite(first.wrapped, onlyA)).toEqual({ ...first, goesOn: true });
    expect((await newKeys(onlyA)).keys).not.toEqual(first.keys);
  });

  test('is a new one when the current master key is', async () => {
    const before = await newKeys(onlyA);
    const after = await keysToWrite(before.wrapped, bThenA);
    expect(after).toMatchObject({ goesOn: false, wrapped: { keyId: onlyB.current?.name } });
    expect(after.keys).not.toEqual(before.keys);
    expect(await keysToWrite(before.wrapped, none)).toEqual({ keys: null, wrapped: null, goesOn: false });
    expect(await keysToWrite(null, none)).toEqual({ keys: null, wrapped: null, goesOn: true });
  });

  test('is a new one when the last one is damaged', async () => {
    const { wrapped } = await newKeys(onlyA);
    const damaged = { ...wrapped, wrappedKey: Buffer.alloc(60).toString('base64') };
    expect(await keysToWrite(damaged, onlyA)).toMatchObject({ goesOn: false });
  });
});

describe('reading a checkpoint', () => {
  test('takes the key it was written with, current or not', async () => {
    const manifest = await signed(onlyA);
    const keys = await keysToRead(manifest, PREFIX, onlyA);
    expect(keys).not.toBeNull();
    expect(await keysToRead(manifest, PREFIX, bThenA)).toEqual(keys);
    await expect(keysToRead(manifest, PREFIX, onlyB)).rejects.toThrow(because('wrongKey'));
    await expect(keysToRead(manifest, PREFIX, none)).rejects.toThrow(because('wrongKey'));
  });

  test('takes none where it is not encrypted', async () => {
    const plain = { ...(await signed(onlyA)), encryption: null };
    expect(await keysToRead(plain, PREFIX, none)).toBeNull();
    await expect(keysToRead(plain, PREFIX, onlyA)).rejects.toThrow(because('wrongKey'));
    expect(await keysToRead(plain, PREFIX, KeyRing.of([A, 'plain']))).toBeNull();
  });

  test('is refused with any bit of the wrapped key flipped', async () => {
    const { wrapped } = await newKeys(onlyA);
    const bytes = Buffer.from(wrapped.wrappedKey, 'base64');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
      await expect(onlyA.unwrap({ ...wrapped, wrappedKey: flipped.toString('base64') })).rejects.toThrow(
        because('corrupt'),
      );
    }
  });

  test('is refused as another job’s, and with anything in the manifest changed', async () => {
    const manifest = await signed(onlyA);
    await expect(keysToRead(manifest, 'jobs/b/checkpoints/', onlyA)).rejects.toThrow(because('substituted'));
    for (const field of Object.keys(manifest).filter((name) => name !== 'encryption')) {
      const changed = { ...manifest, [field]: 'changed' } as Manifest;
      await expect(keysToRead(changed, PREFIX, onlyA), field).rejects.toThrow(because('substituted'));
    }
    const [pack] = manifest.packs;
    const larger = { ...manifest, packs: [{ key: pack?.key ?? '', sizeBytes: 8 }] };
    await expect(keysToRead(larger, PREFIX, onlyA)).rejects.toThrow(because('substituted'));
  });

  test('is refused in another store, unless that has moved', async () => {
    const manifest = await signed(onlyA);
    const elsewhere = { home: 's3://other/floe' };
    await expect(keysToRead(manifest, PREFIX, onlyA, elsewhere)).rejects.toThrow(because('otherStore'));
    expect(await keysToRead(manifest, PREFIX, KeyRing.of([A, 'moved']), elsewhere)).not.toBeNull();
    await expect(keysToRead(manifest, 'jobs/b/', KeyRing.of([A, 'moved']))).rejects.toThrow(because('substituted'));
  });

  test('of version 3 is for any store: it is read where the prefix tells whose it is', async () => {
    const old = await signed(onlyA, { version: PLAIN_VERSION });
    expect(await keysToRead(old, PREFIX, onlyA)).not.toBeNull();
    await expect(keysToRead(old, PREFIX, onlyA, { isPrefixOwn: false })).rejects.toThrow(because('otherStore'));
    expect(await keysToRead(old, PREFIX, KeyRing.of([A, 'moved']), { isPrefixOwn: false })).not.toBeNull();
  });

  test('of version 4 cannot be passed off as one of version 3', async () => {
    const { home: _, ...manifest } = await signed(onlyA);
    await expect(keysToRead({ ...manifest, version: PLAIN_VERSION }, PREFIX, onlyA)).rejects.toThrow(
      because('substituted'),
    );
  });

  test('does not depend on the order of the manifest’s fields', async () => {
    const manifest = await signed(onlyA);
    const keys = await keysToRead(manifest, PREFIX, onlyA);
    const reversed = Object.fromEntries(Object.entries(manifest).reverse()) as Manifest;
    expect(keys && isAuthentic(keys.manifest, reversed, PREFIX)).toBe(true);
  });
});
