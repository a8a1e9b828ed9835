/** A master key that this machine knows. */
import { randomBytes } from 'node:crypto';
import { type DataKey, type MasterKey, notAsWrapped, type WrappedKey } from './masterKey.ts';
import { deriveKey, KEY_BYTES, open, seal } from './seal.ts';

const DATA_KEY_CONTEXT = 'floe data key';
/** 64 bits tell the few keys of a fleet apart. */
const KEY_ID_BYTES = 8;

/** Data keys are sealed with a key derived from it. Its id is derived too: it says nothing about the key. */
export class LocalKey implements MasterKey {
  readonly name: string;
  readonly #wrapping: Uint8Array;

  /** Throws `RangeError` when the key does not have 32 bytes. */
  constructor(key: Uint8Array) {
    const id = Buffer.from(deriveKey(key, 'floe key id')).toString('hex', 0, KEY_ID_BYTES);
    this.name = `local:${id}`;
    this.#wrapping = deriveKey(key, 'floe wrapping');
  }

  async newDataKey(): Promise<DataKey> {
    const dataKey = new Uint8Array(randomBytes(KEY_BYTES));
    const wrappedKey = seal(this.#wrapping, dataKey, DATA_KEY_CONTEXT).toString('base64');
    return { dataKey, wrapped: { keyId: this.name, wrappedKey } };
  }

  async unwrap({ keyId, wrappedKey }: WrappedKey): Promise<Uint8Array | null> {
    if (keyId !== this.name) return null;
    const dataKey = open(this.#wrapping, Buffer.from(wrappedKey, 'base64'), DATA_KEY_CONTEXT);
    if (dataKey?.length !== KEY_BYTES) throw notAsWrapped();
    return new Uint8Array(dataKey);
  }
}
