/** Master keys wrap the data keys of jobs, and are all that a user has to keep. One contract: localKey.ts, kmsKey.ts. */
import { FreezerError } from '../errors.ts';

/** A data key as a manifest has it. `keyId` tells which master key wrapped it, and nothing about that; `wrappedKey` is base64. */
export interface WrappedKey {
  readonly keyId: string;
  readonly wrappedKey: string;
}

/** 32 bytes, and the same wrapped. */
export interface DataKey {
  readonly dataKey: Uint8Array;
  readonly wrapped: WrappedKey;
}

/** Both methods reject with `FreezerError` `wrongKey` when the key cannot be used, and `failed` when the one who has it does not answer. */
export interface MasterKey {
  /** For messages; tells nothing about the key. */
  readonly name: string;
  newDataKey(): Promise<DataKey>;
  /** Null when another key wrapped it. Rejects with `corrupt` for what is not as this key wrapped it. */
  unwrap(wrapped: WrappedKey): Promise<Uint8Array | null>;
}

/** For a wrapped data key that is damaged, though the key that wrapped it is there. */
export function notAsWrapped(cause?: unknown): FreezerError {
  return new FreezerError(
    'corrupt',
    'The checkpoint is corrupt: its wrapped data key is not as it was written.',
    'Floe falls back to the checkpoint before it.',
    { cause },
  );
}
