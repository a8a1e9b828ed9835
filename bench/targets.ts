/** What is compared with what, and how good Floe means to be. */
import { type Case, medianOf, samplesOf } from './results.ts';

const MIB = 2 ** 20;

export interface Comparison {
  /** What is measured, and after the colon what it is divided by. */
  readonly title: string;
  readonly unit: 'ms' | 'bytes';
  readonly measured: (measured: Case) => number | null;
  /** The other side of the ratio: of the same case, or one that is fixed. */
  readonly reference: (measured: Case) => number | null;
  /** The ratio at most. Absent: it is only reported. */
  readonly target?: number;
  /** The stores for which the target counts. Default both. */
  readonly targetStore?: Case['store'];
}

const its = (name: string) => (measured: Case) => medianOf(measured, name);
const fixed = (value: number) => () => value;
const largest = (suffix: string) => (measured: Case) => {
  const names = Object.keys(measured.samples[0] ?? {}).filter((name) => name.endsWith(suffix));
  const samples = names.flatMap((name) => samplesOf(measured, name));
  return samples.length === 0 ? null : Math.max(...samples);
};

const ms = 'ms' as const;
const bytes = 'bytes' as const;
const s3 = { targetStore: 's3' } as const;

export const comparisons: readonly Comparison[] = [
  {
    title: 'full checkpoint, durable : (a)',
    unit: ms,
    measured: its('floe.full.wallMs'),
    reference: its('disk.wallMs'),
    target: 0.5,
    ...s3,
  },
  {
    title: 'full checkpoint, durable : (b)',
    unit: ms,
    measured: its('floe.full.wallMs'),
    reference: its('pipe.wallMs'),
    target: 0.8,
    ...s3,
  },
  {
    title: 'time frozen : (c)',
    unit: ms,
    measured: its('floe.full.frozenMs'),
    reference: its('dump.wallMs'),
    target: 1.3,
  },
  {
    title: 'standstill as the program sees it : in (c)',
    unit: ms,
    measured: its('floe.full.standstillMs'),
    reference: its('dump.standstillMs'),
  },
  {
    title: '1 % in one region, sent : the change',
    unit: bytes,
    measured: its('floe.region 1 %.sentBytes'),
    reference: its('floe.region 1 %.changedBytes'),
    target: 1.2,
  },
  {
    title: '1 % in one region, durable : (c)',
    unit: ms,
    measured: its('floe.region 1 %.wallMs'),
    reference: its('dump.wallMs'),
    target: 1.3,
  },
  {
    title: '1 % in one region, time frozen : (c)',
    unit: ms,
    measured: its('floe.region 1 %.frozenMs'),
    reference: its('dump.wallMs'),
  },
  {
    title: '1 % scattered, sent : by 64 KiB windows',
    unit: bytes,
    measured: its('floe.scattered 1 %.sentBytes'),
    reference: its('windows.64KiBBytes'),
    target: 1,
  },
  {
    title: '1 % scattered, sent : by 256 KiB windows',
    unit: bytes,
    measured: its('floe.scattered 1 %.sentBytes'),
    reference: its('windows.256KiBBytes'),
  },
  {
    title: '1 % scattered, sent : the changed pages, compressed',
    unit: bytes,
    measured: its('floe.scattered 1 %.sentBytes'),
    reference: its('windows.pagesBytes'),
  },
  {
    title: '1 % scattered, durable : (c)',
    unit: ms,
    measured: its('floe.scattered 1 %.wallMs'),
    reference: its('dump.wallMs'),
  },
  {
    title: '1 % scattered, time frozen : (c)',
    unit: ms,
    measured: its('floe.scattered 1 %.frozenMs'),
    reference: its('dump.wallMs'),
  },
  {
    title: 'eager thaw : (b) backwards',
    unit: ms,
    measured: its('floe.eager.firstInstructionMs'),
    reference: its('pipe.back.firstInstructionMs'),
    target: 1,
  },
  {
    title: 'lazy thaw, first instruction : 0.5 s',
    unit: ms,
    measured: its('floe.lazy.firstInstructionMs'),
    reference: fixed(500),
    target: 1,
  },
  {
    title: 'lazy thaw, filled under a sweep : eager thaw',
    unit: ms,
    measured: its('floe.lazy.sweptMs'),
    reference: its('floe.eager.firstInstructionMs'),
    target: 2,
  },
  {
    title: "engine's memory, largest : 512 MiB",
    unit: bytes,
    measured: largest('.engineRssBytes'),
    reference: fixed(512 * MIB),
    target: 1,
  },
  {
    title: "caller's event loop, delay p99, largest : 50 ms",
    unit: ms,
    measured: largest('.loopDelayP99Ms'),
    reference: fixed(50),
    target: 1,
  },
];

export interface Outcome {
  readonly ratio: number;
  readonly measured: number;
  readonly reference: number;
  /** Null where there is no target. */
  readonly isMet: boolean | null;
}

/** Null where one side was not measured. */
export function compare(comparison: Comparison, measured: Case): Outcome | null {
  const [ours, other] = [comparison.measured(measured), comparison.reference(measured)];
  if (ours === null || other === null || other === 0) return null;
  const ratio = ours / other;
  const { target, targetStore = measured.store } = comparison;
  const isMet = target === undefined || targetStore !== measured.store ? null : ratio <= target;
  return { ratio, measured: ours, reference: other, isMet };
}

/** That the first instruction after a lazy thaw does not wait for the size: the largest program against the smallest. */
export const GROWTH_TARGET = 1.5;

/** Of cases that differ in size alone, in ascending order. Null for fewer than two that have been measured. */
export function lazyGrowth(cases: readonly Case[]): Outcome | null {
  const firsts = cases.map(its('floe.lazy.firstInstructionMs')).filter((value) => value !== null);
  const [smallest, largestSize] = [firsts.at(0), firsts.at(-1)];
  if (firsts.length < 2 || smallest === undefined || largestSize === undefined) return null;
  const ratio = largestSize / smallest;
  return { ratio, measured: largestSize, reference: smallest, isMet: ratio <= GROWTH_TARGET };
}
