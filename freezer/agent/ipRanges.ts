/** Ranges of IP addresses: `ADDRESS/PREFIX`, where the prefix is the number of leading bits that count; without it all do. */
import { isIPv6 } from 'node:net';

interface Range {
  readonly isIPv6: boolean;
  /** The lowest address. */
  readonly first: bigint;
  readonly prefix: number;
}

/** The two halves of a range; the range itself where it is one address. */
export function halvesOf(text: string): string[] {
  const range = parse(text);
  return range.prefix === sizeOf(range) ? [format(range)] : split(range).map(format);
}

/** What is left of a range when some addresses are taken out of it, as few ranges as can be. */
export function withoutAddresses(text: string, addresses: readonly string[]): string[] {
  return without(
    parse(text),
    addresses.map((address) => parse(address)),
  ).map(format);
}

function without(range: Range, addresses: readonly Range[]): Range[] {
  const inside = addresses.filter((address) => isWithin(address, range));
  if (inside.length === 0) return [range];
  return range.prefix === sizeOf(range) ? [] : split(range).flatMap((half) => without(half, inside));
}

function isWithin(address: Range, range: Range): boolean {
  const rest = BigInt(sizeOf(range) - range.prefix);
  return address.isIPv6 === range.isIPv6 && address.first >> rest === range.first >> rest;
}

function split({ first, ...range }: Range): [Range, Range] {
  const prefix = range.prefix + 1;
  return [
    { ...range, first, prefix },
    { ...range, first: first | (1n << BigInt(sizeOf(range) - prefix)), prefix },
  ];
}

/** In bits. */
function sizeOf(range: Pick<Range, 'isIPv6'>): number {
  return range.isIPv6 ? 128 : 32;
}

function parse(text: string): Range {
  const [address = '', prefixText] = text.split('/');
  const family = { isIPv6: isIPv6(address) };
  const size = sizeOf(family);
  const prefix = prefixText === undefined ? size : Number(prefixText);
  const rest = BigInt(size - prefix);
  const value = (family.isIPv6 ? groupsOf(address) : address.split('.').map(Number)).reduce(
    (sum, part) => (sum << (family.isIPv6 ? 16n : 8n)) | BigInt(part),
    0n,
  );
  return { ...family, prefix, first: (value >> rest) << rest };
}

/** The eight numbers of an IPv6 address, whose zeros may be left out and whose end may be written as an IPv4 address. */
function groupsOf(address: string): number[] {
  const [head = [], tail] = address.replace(/%.*/, '').split('::').map(partsOf);
  return tail ? [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail] : head;
}

function partsOf(text: string): number[] {
  return text.split(':').flatMap((part) => {
    if (part === '') return [];
    if (!part.includes('.')) return [Number.parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}

function format({ isIPv6: is6, first, prefix }: Range): string {
  const [count, bits, base] = is6 ? ([8, 16n, 16] as const) : ([4, 8n, 10] as const);
  const parts = Array.from({ length: count }, (_, at) =>
    ((first >> (bits * BigInt(count - 1 - at))) & ((1n << bits) - 1n)).toString(base),
  );
  return `${parts.join(is6 ? ':' : '.')}/${prefix}`;
}
