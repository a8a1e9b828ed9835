/** Reads protobuf messages of any shape, as far as CRIU's images have them. They come from a store that others may write to. */

/** What a field holds: an integer, or the bytes of a text or of a message. A field may be there many times. */
export type Field = bigint | Buffer;

/** By the field's number. Throws `RangeError` for bytes that are no message. */
export function readMessage(bytes: Buffer): Map<number, Field[]> {
  const fields = new Map<number, Field[]>();
  let at = 0;
  const take = (count: number): Buffer => {
    if (at + count > bytes.length) throw new RangeError('A field goes beyond the end of its message.');
    at += count;
    return bytes.subarray(at - count, at);
  };
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = take(1)[0] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('A number is too long.');
  };
  const valueAt = (wireType: number): Field => {
    if (wireType === 0) return varint();
    if (wireType === 1) return take(8).readBigUInt64LE();
    if (wireType === 2) return take(Number(varint()));
    if (wireType === 5) return BigInt(take(4).readUInt32LE());
    throw new RangeError(`There is no field of type ${wireType}.`);
  };
  while (at < bytes.length) {
    const key = varint();
    const number = Number(key >> 3n);
    fields.set(number, [...(fields.get(number) ?? []), valueAt(Number(key & 7n))]);
  }
  return fields;
}

/** The numbers of a repeated field, whether they stand alone or packed. */
export function numbersOf(fields: readonly Field[] | undefined): bigint[] {
  return (fields ?? []).flatMap((field) => (Buffer.isBuffer(field) ? [...unpack(field)] : [field]));
}

function* unpack(packed: Buffer): Generator<bigint> {
  let [value, shift] = [0n, 0n];
  for (const byte of packed) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    yield value;
    [value, shift] = [0n, 0n];
  }
}
