/**
 * Encryption and authentication of what a job keeps in the store. Pure and synchronous; for chunks native/codec.c does the same.
 *
 * Every job has a **data key** of 32 random bytes. Three keys are derived from it by HKDF-SHA256 (RFC 5869; no salt, the label
 * as info), so that no key serves two algorithms:
 *
 *   floe encryption   AES-256-GCM, for chunks and indexes
 *   floe identity     HMAC-SHA256, for the ids of chunks: equal content cannot be told from its id without the key
 *   floe manifest     HMAC-SHA256, for manifests, see manifestMac.ts
 *
 * What is **sealed** is nonce (12 bytes) | ciphertext (as long as the content) | tag (16 bytes). The context says what it is,
 * and is authenticated with it: a sealed thing opens only as what it was sealed as.
 *
 * Nonces are random. NIST SP 800-38D, 8.3, allows 2^32 of them for one key, where the risk that any two are the same is below
 * 2^-32. That is a pebibyte of full chunks for one job: a job that writes 10 GiB of chunks every ten minutes gets there in two years.
 * Every call's content must be below 64 GiB (5.2.1.1).
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

export const KEY_BYTES = 32;
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** By how much sealed content is longer. */
export const SEAL_BYTES = NONCE_BYTES + TAG_BYTES;

/** 32 bytes each. */
export interface SubKeys {
  readonly encryption: Uint8Array;
  readonly identity: Uint8Array;
  readonly manifest: Uint8Array;
}

/** Throws `RangeError` when the data key does not have 32 bytes. */
export function subKeysOf(dataKey: Uint8Array): SubKeys {
  return {
    encryption: deriveKey(dataKey, 'floe encryption'),
    identity: deriveKey(dataKey, 'floe identity'),
    manifest: deriveKey(dataKey, 'floe manifest'),
  };
}

/** HKDF-SHA256 of a whole key: 32 bytes, of which those of one label say nothing about those of another, nor about the key. */
export function deriveKey(key: Uint8Array, label: string): Uint8Array {
  if (key.length !== KEY_BYTES) throw new RangeError(`A key has ${KEY_BYTES} bytes, not ${key.length}.`);
  return new Uint8Array(hkdfSync('sha256', key, new Uint8Array(), label, KEY_BYTES));
}

/** `context`: what it is, for instance a chunk's id, or `index` and the checkpoint's id; `open` must be told the same. */
export function seal(key: Uint8Array, content: Uint8Array, context: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(context));
  return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

/** Null when it was not sealed by this key, in this context, or is not as it was: nothing of its content is given then. */
export function open(key: Uint8Array, sealed: Uint8Array, context: string): Buffer | null {
  if (sealed.length < SEAL_BYTES) return null;
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const content = decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES));
  try {
    decipher.final();
  } catch {
    // The one thing that `final` refuses in this mode is a tag that does not fit.
    return null;
  }
  return content;
}
