/**
 * Authentication of manifests, which are not encrypted: retention and sweeps read them without a key.
 *
 * The MAC is HMAC-SHA256, under the key `floe manifest`, of the UTF-8 of `floe manifest <version>\n`, the job's prefix in the store, `\n`,
 * and the manifest's canonical JSON without `encryption.mac`. The prefix keeps another job's checkpoint from being taken for this
 * one's. Since version 4 the manifest says as `home` for which store it was written (home.ts), and so the MAC covers that as well.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Manifest } from '../checkpoint/format.ts';
import { canonicalJson } from './canonicalJson.ts';
import type { WrappedKey } from './masterKey.ts';

export type UnsignedManifest = Omit<Manifest, 'encryption'> & { encryption: WrappedKey };

/** The manifest as it is to be written. `prefix`: the `CheckpointPlace`'s; `key`: `SubKeys.manifest`. */
export function signManifest(key: Uint8Array, manifest: UnsignedManifest, prefix: string): Manifest {
  const { keyId, wrappedKey } = manifest.encryption;
  const mac = macOf(key, { ...manifest, encryption: { keyId, wrappedKey } }, prefix).toString('hex');
  return { ...manifest, encryption: { keyId, wrappedKey, mac } };
}

/** Whether every word of the manifest is as it was written, for the job under this prefix. A manifest without encryption is not. */
export function isAuthentic(key: Uint8Array, manifest: Manifest, prefix: string): boolean {
  const { encryption } = manifest;
  if (encryption === null) return false;
  const { mac, ...wrapped } = encryption;
  const claimed = Buffer.from(mac, 'hex');
  const right = macOf(key, { ...manifest, encryption: wrapped }, prefix);
  return claimed.length === right.length && timingSafeEqual(claimed, right);
}

function macOf(key: Uint8Array, manifest: UnsignedManifest, prefix: string): Buffer {
  return createHmac('sha256', key)
    .update(`floe manifest ${manifest.version}\n${prefix}\n${canonicalJson(manifest)}`)
    .digest();
}
