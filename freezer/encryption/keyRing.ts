/**
 * The master keys of a worker, as its configuration has them: the first is the **current** one, with which data keys are
 * wrapped; those after it are older and only read. Each is a text:
 *
 *   32 bytes in base64 (44 characters) or hexadecimal (64)
 *   kms:<key id, ARN, or alias/name>   a key of AWS KMS
 *   plain                              no key: checkpoints that are not encrypted are read too
 *   moved                              no key: checkpoints that were written for another store are read too
 *
 * Where there is a key, `plain` must be said: else whoever can write to the store could put a checkpoint of their own making there.
 * So must `moved`: else they could bring one from another store that has the same key.
 */
import { FreezerError } from '../errors.ts';
import { KmsKey } from './kmsKey.ts';
import { LocalKey } from './localKey.ts';
import type { MasterKey, WrappedKey } from './masterKey.ts';

const PLAIN = 'plain';
const MOVED = 'moved';
const HEX = /^[0-9a-fA-F]{64}$/;
/** The last character has two bits that belong to no byte: they are zero. */
const BASE64 = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const KMS = /^kms:([A-Za-z0-9/_:-]{1,2048})$/;

export class KeyRing {
  readonly #keys: readonly MasterKey[];
  /** Whether a checkpoint that is not encrypted may be read. */
  readonly readsPlain: boolean;
  /** Whether a checkpoint may be read that was written for another store. */
  readonly readsMoved: boolean;

  private constructor(keys: readonly MasterKey[], reads: { plain: boolean; moved: boolean }) {
    this.#keys = keys;
    this.readsPlain = reads.plain;
    this.readsMoved = reads.moved;
  }

  /** Throws `FreezerError` `wrongKey` for a text that is no key; its message does not have the text. */
  static of(texts: readonly string[] = []): KeyRing {
    const keys = texts.filter((text) => text !== PLAIN && text !== MOVED);
    const plain = keys.length === 0 || texts.includes(PLAIN);
    return new KeyRing(keys.map(parseMasterKey), { plain, moved: texts.includes(MOVED) });
  }

  /** Null where no key is configured: what is written then is not encrypted. */
  get current(): MasterKey | null {
    return this.#keys[0] ?? null;
  }

  /**
   * The data key. Rejects with `FreezerError`: `wrongKey` when none of the keys wrapped it, or the one that did cannot be used;
   * `corrupt` when it is not as it was wrapped; `failed` when KMS does not answer.
   */
  async unwrap(wrapped: WrappedKey): Promise<Uint8Array> {
    const failures: unknown[] = [];
    for (const key of this.#keys) {
      try {
        const dataKey = await key.unwrap(wrapped);
        if (dataKey) return dataKey;
      } catch (error) {
        failures.push(error); // another key of the ring may be the right one still
      }
    }
    throw failures[0] ?? this.#noKeyFor(wrapped);
  }

  #noKeyFor({ keyId }: WrappedKey): FreezerError {
    const names = this.#keys.map(({ name }) => name).join(', ');
    const has = names === '' ? 'no encryption key is configured here' : `the keys here are ${names}`;
    return new FreezerError(
      'wrongKey',
      `The checkpoint is encrypted with the key ${keyId}; ${has}.`,
      'Give that key too: after the current one, with a comma between, it is only for reading.',
    );
  }
}

function parseMasterKey(text: string): MasterKey {
  const kmsId = KMS.exec(text)?.[1];
  if (kmsId !== undefined) return new KmsKey(kmsId);
  if (HEX.test(text)) return new LocalKey(Buffer.from(text, 'hex'));
  if (BASE64.test(text)) return new LocalKey(Buffer.from(text, 'base64'));
  throw new FreezerError(
    'wrongKey',
    `An encryption key that was given is none: it has ${text.length} characters.`,
    'Give 32 bytes in base64 or hexadecimal, as `openssl rand -base64 32` makes them, or kms:<key id>.',
  );
}
