/**
 * A master key of AWS KMS, which never leaves it: KMS makes data keys and unwraps them (`GenerateDataKey`, `Decrypt`; both must be
 * allowed). Credentials, region and endpoint come from the SDK's default chain: `AWS_REGION`, `AWS_ENDPOINT_URL_KMS`, profiles and
 * roles; an ARN brings its own region.
 *
 * A data key's `keyId` is `kms:` and the ARN of the key that wrapped it, also where the key was given as an alias: so it can be
 * unwrapped when the alias has long been another key's.
 */
import type { KMSClient } from '@aws-sdk/client-kms';
import { FreezerError } from '../errors.ts';
import { type DataKey, type MasterKey, notAsWrapped, type WrappedKey } from './masterKey.ts';
import { KEY_BYTES } from './seal.ts';

const SCHEME = 'kms:';
/** Authenticated by KMS, and what key policies and CloudTrail see. */
const EncryptionContext = { purpose: 'floe checkpoint' };
/** A program may be about to lose its machine while this is waited for. */
const attempts = 3;
const connectionTimeoutMs = 3_000;
const answerTimeoutMs = 10_000;

export class KmsKey implements MasterKey {
  readonly name: string;
  readonly #id: string;

  /** A key's id or ARN, or that of an alias. */
  constructor(id: string) {
    this.#id = id;
    this.name = SCHEME + id;
  }

  async newDataKey(): Promise<DataKey> {
    const { Plaintext, CiphertextBlob, KeyId } = await this.#ask(async (client) => {
      const { GenerateDataKeyCommand } = await import('@aws-sdk/client-kms');
      return client.send(new GenerateDataKeyCommand({ KeyId: this.#id, NumberOfBytes: KEY_BYTES, EncryptionContext }));
    });
    if (Plaintext?.length !== KEY_BYTES || !CiphertextBlob || !KeyId) throw this.#failed('the answer has no data key');
    const wrappedKey = Buffer.from(CiphertextBlob).toString('base64');
    return { dataKey: Uint8Array.from(Plaintext), wrapped: { keyId: SCHEME + KeyId, wrappedKey } };
  }

  async unwrap({ keyId, wrappedKey }: WrappedKey): Promise<Uint8Array | null> {
    const match = this.#compare(keyId);
    if (match === 'other') return null;
    try {
      const { Plaintext } = await this.#ask(async (client) => {
        const { DecryptCommand } = await import('@aws-sdk/client-kms');
        const CiphertextBlob = Buffer.from(wrappedKey, 'base64');
        return client.send(new DecryptCommand({ KeyId: this.#id, CiphertextBlob, EncryptionContext }));
      });
      if (Plaintext?.length !== KEY_BYTES) throw this.#failed('the answer has no data key');
      return Uint8Array.from(Plaintext);
    } catch (error) {
      const name = error instanceof FreezerError && error.cause instanceof Error ? error.cause.name : null;
      if (name !== 'IncorrectKeyException' && name !== 'InvalidCiphertextException') throw error;
      if (match === 'same') throw notAsWrapped(error);
      return null;
    }
  }

  /** An alias tells nothing about its key: that is for KMS to say. Key ids are unique, and those of replicas in other regions the same. */
  #compare(keyId: string): 'same' | 'other' | 'unknown' {
    if (!keyId.startsWith(SCHEME)) return 'other';
    if (/(^|:)alias\//.test(this.#id)) return 'unknown';
    return bareId(this.#id) === bareId(keyId) ? 'same' : 'other';
  }

  async #ask<T>(question: (client: KMSClient) => Promise<T>): Promise<T> {
    // The SDK takes a while to load, so only those who use it do.
    const { KMSClient, KMSServiceException } = await import('@aws-sdk/client-kms');
    const region = /^arn:[^:]*:kms:([^:]+):/.exec(this.#id)?.[1];
    const client = new KMSClient({
      ...(region && { region }),
      maxAttempts: attempts,
      requestHandler: { connectionTimeout: connectionTimeoutMs, requestTimeout: answerTimeoutMs },
    });
    try {
      return await question(client);
    } catch (error) {
      const isRefused = error instanceof KMSServiceException && error.$fault === 'client' && !error.$retryable;
      throw isRefused ? this.#refused(error) : this.#failed(error);
    } finally {
      client.destroy();
    }
  }

  #refused(cause: Error): FreezerError {
    const remedy =
      'Give the key that the checkpoint was made with, and allow kms:GenerateDataKey and kms:Decrypt on it.';
    return new FreezerError('wrongKey', `KMS refuses the key ${this.#id}: ${describe(cause)}.`, remedy, { cause });
  }

  #failed(cause: unknown): FreezerError {
    const remedy = 'Check the region, the credentials, and the way to KMS.';
    const message = `KMS does not answer for the key ${this.#id}: ${describe(cause)}.`;
    return new FreezerError('failed', message, remedy, { cause });
  }
}

/** The last part of an ARN. */
function bareId(id: string): string {
  return id.slice(Math.max(id.lastIndexOf('/'), id.lastIndexOf(':')) + 1);
}

function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return [cause.name === 'Error' ? '' : cause.name, cause.message.replace(/\.$/, '')].filter(Boolean).join(': ');
}
