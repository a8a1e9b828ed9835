/** The content that the parts are one after the other; a single part is given as it is, for a copy costs. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  return only && parts.length === 1 ? only : Buffer.concat(parts);
}
