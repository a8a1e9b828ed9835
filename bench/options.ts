/** The flags of the benchmark. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PAGE_BYTES } from './changes.ts';
import type { Content } from './filler.ts';
import type { StoreKind } from './ground.ts';
import type { Part } from './measures.ts';

const CONTENTS = ['compressible', 'incompressible'] as const satisfies Content[];
const STORES = ['s3', 'file'] as const satisfies StoreKind[];
const PARTS = ['full', 'increment', 'thaw'] as const satisfies Part[];
const GIB = 2 ** 30;

export const USAGE = `npm run bench [-- OPTIONS]

  --sizes LIST      sizes of the program, GiB (default 0.25,1,4)
  --contents LIST   compressible (about 3 times), incompressible (default both)
  --stores LIST     s3 (the S3 server of the tests), file (a folder; default both)
  --pairs N         how often each is measured, Floe and the simple ways in turn (default 5)
  --only LIST       full, increment, thaw (default all; the first checkpoint is always measured)
  --out FILE        every sample, as JSON; the table goes beside it as .md, between its marks. What FILE has of other
                    sizes, contents and stores stays (default docs/benchmarks.json)
  --quick           one pair of 0.25 GiB, compressible, with the s3 store; written only where --out says
  --help
`;

export interface Options {
  readonly sizesBytes: readonly number[];
  readonly contents: readonly Content[];
  readonly stores: readonly StoreKind[];
  readonly pairs: number;
  readonly parts: readonly Part[];
  /** Null: the results are only printed. */
  readonly out: string | null;
}

/** Null when the usage was asked for. Throws `TypeError` that names the flag and the value. */
export function readOptions(args = process.argv.slice(2)): Options | null {
  const text = { type: 'string' } as const;
  const yes = { type: 'boolean', default: false } as const;
  const options = {
    sizes: text,
    contents: text,
    stores: text,
    pairs: text,
    only: text,
    out: text,
    quick: yes,
    help: yes,
  };
  const { values } = parseArgs({ args, options });
  if (values.help) return null;
  const { quick } = values;
  return {
    sizesBytes: (values.sizes ?? (quick ? '0.25' : '0.25,1,4')).split(',').map(sizeBytes),
    contents: listOf('--contents', values.contents ?? (quick ? 'compressible' : undefined), CONTENTS),
    stores: listOf('--stores', values.stores ?? (quick ? 's3' : undefined), STORES),
    pairs: wholeNumber('--pairs', values.pairs ?? (quick ? '1' : '5')),
    parts: listOf('--only', values.only, PARTS),
    out: values.out ?? (quick ? null : join(import.meta.dirname, '../docs/benchmarks.json')),
  };
}

function sizeBytes(text: string): number {
  const bytes = Number(text) * GIB;
  if (bytes >= GIB / 64 && bytes <= 64 * GIB && bytes % PAGE_BYTES === 0) return bytes;
  throw new TypeError(`--sizes takes GiB from 1/64 (0.015625) to 64, in whole pages, got "${text}"`);
}

function wholeNumber(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 100) return value;
  throw new TypeError(`${flag} must be a whole number from 1 to 100, got "${text}"`);
}

function listOf<T extends string>(flag: string, text: string | undefined, allowed: readonly T[]): readonly T[] {
  if (text === undefined) return allowed;
  return text.split(',').map((word) => {
    const known = allowed.find((value) => value === word);
    if (known === undefined) throw new TypeError(`${flag} takes ${allowed.join(', ')}, got "${word}"`);
    return known;
  });
}
