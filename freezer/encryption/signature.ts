/**
 * Signatures of the small JSON objects in a store that decide something: which run a job had (fences) and how
 * it ended (results).
 *
 * Who can write to the bucket can put any bytes anywhere. With a key, an object counts only where its signature is right, and the
 * signature says what the object is: it covers the store, the object's key (job, kind and epoch are in it) and the content.
 *
 * The stored object is the content with one more name, `signature`: `{keyId, wrappedKey, home, mac}`. Every process has a data
 * key of its own for what it signs, wrapped as those of checkpoints are: so it asks KMS once, and once more for each other process
 * whose objects it meets. `mac` is HMAC-SHA256, under the key that is derived with the label `floe signature`, of the UTF-8 of
 * `floe signature 1\n`, the object's key, `\n`, and the stored object's canonical JSON without `mac`.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { parseBounded } from '../../store/boundedJson.ts';
import { FreezerError } from '../errors.ts';
import { canonicalJson } from './canonicalJson.ts';
import type { KeyRing } from './keyRing.ts';
import type { WrappedKey } from './masterKey.ts';
import { deriveKey } from './seal.ts';

const LABEL = 'floe signature';
/** Other processes' keys that are remembered: more than a fleet has workers. */
const MOST_KNOWN = 4096;
/** Far more than fences and results have. */
export const MOST_CONTAINERS = 1000;

const Stored = z.looseObject({});
const Signature = z.strictObject({
  keyId: z.string().min(1).max(2048),
  wrappedKey: z.base64().max(8192),
  /** The store that it was written for. */
  home: z.string().max(2048),
  mac: z.string().regex(/^[0-9a-f]{64}$/),
});

/**
 * What an object in the store turned out to be. `content` is JSON without the signature, and not looked at further.
 * - `signed`: as it was written, by somebody who has the key, for this place.
 * - `unsigned`: it has no signature; or there is no key here to look at one with.
 * - `forged`: it is no JSON, its signature is not right, or it is another object's.
 */
export type Reading =
  | { kind: 'signed'; content: unknown }
  | { kind: 'unsigned'; content: unknown }
  | { kind: 'forged'; reason: string };

interface SigningKey {
  readonly wrapped: WrappedKey;
  readonly key: Uint8Array;
}

export class Signatures {
  readonly #ring: KeyRing;
  readonly #home: string;
  readonly #known = new Map<string, Uint8Array>();
  #own: Promise<SigningKey> | null = null;

  /** `home`: what `homeOf` says of the store. */
  constructor(ring: KeyRing, home: string) {
    this.#ring = ring;
    this.#home = home;
  }

  /** Whether there is a key: then everything that is written is signed, and what is not signed must be justified. */
  get areWanted(): boolean {
    return this.#ring.current !== null;
  }

  /** As the key ring's `plain`: what has no signature may be read. */
  get readUnsigned(): boolean {
    return this.#ring.readsPlain;
  }

  /** The object's bytes; without a signature where there is no key. Rejects with `FreezerError` `wrongKey` or `failed` when KMS gives no key. */
  async sign(key: string, content: object): Promise<Buffer> {
    const own = await this.#ownKey();
    if (own === null) return Buffer.from(JSON.stringify(content));
    const { keyId, wrappedKey } = own.wrapped;
    const unsigned = { ...content, signature: { keyId, wrappedKey, home: this.#home } };
    const mac = macOf(own.key, key, unsigned).toString('hex');
    return Buffer.from(JSON.stringify({ ...content, signature: { ...unsigned.signature, mac } }));
  }

  /**
   * Rejects with `FreezerError`: `wrongKey` where the key that signed is not among those here, `otherStore` where it is authentic and was
   * written for another store, `failed` when KMS does not answer.
   */
  async read(key: string, bytes: Uint8Array): Promise<Reading> {
    const stored = parse(bytes);
    if (stored === null) return { kind: 'forged', reason: 'it is not JSON of its kind' };
    const { signature, ...content } = stored;
    if (signature === undefined || !this.areWanted) return { kind: 'unsigned', content };
    const parsed = Signature.safeParse(signature);
    if (!parsed.success) return { kind: 'forged', reason: 'its signature is malformed' };
    const { mac, ...rest } = parsed.data;
    const signer = await this.#keyOf(rest);
    const right = signer && macOf(signer, key, { ...content, signature: rest });
    if (!right || !timingSafeEqual(right, Buffer.from(mac, 'hex')))
      return { kind: 'forged', reason: 'its signature is not right' };
    if (rest.home !== this.#home && !this.#ring.readsMoved) throw otherStore(key, rest.home, this.#home);
    return { kind: 'signed', content };
  }

  async #ownKey(): Promise<SigningKey | null> {
    const { current } = this.#ring;
    if (current === null) return null;
    this.#own ??= current.newDataKey().then(({ dataKey, wrapped }) => ({ wrapped, key: deriveKey(dataKey, LABEL) }));
    try {
      return await this.#own;
    } catch (error) {
      this.#own = null; // KMS may answer the next time
      throw error;
    }
  }

  /** Null for a wrapped key that is not as it was wrapped. */
  async #keyOf({ keyId, wrappedKey }: WrappedKey): Promise<Uint8Array | null> {
    const name = `${keyId} ${wrappedKey}`;
    const known = this.#known.get(name);
    if (known) return known;
    try {
      const key = deriveKey(await this.#ring.unwrap({ keyId, wrappedKey }), LABEL);
      if (this.#known.size >= MOST_KNOWN) this.#known.clear();
      this.#known.set(name, key);
      return key;
    } catch (error) {
      if (error instanceof FreezerError && error.code === 'corrupt') return null;
      throw error;
    }
  }
}

/** No reason to give up what a job has: most likely the store has got another name. */
function otherStore(key: string, home: string, here: string): FreezerError {
  return new FreezerError(
    'otherStore',
    `${key} was written for ${home}; this is ${here}.`,
    'If the store has moved, add `moved` to the keys, after a comma.',
  );
}

function macOf(key: Uint8Array, objectKey: string, stored: object): Buffer {
  return createHmac('sha256', key)
    .update(`floe signature 1\n${objectKey}\n${canonicalJson(stored)}`)
    .digest();
}

function parse(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    return Stored.parse(parseBounded(bytes, MOST_CONTAINERS));
  } catch {
    // Neither JSON nor an object, or not one of ours: the caller says what that means.
    return null;
  }
}
