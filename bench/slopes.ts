/** How cost grows: with a program's size, and for increments with what was changed. */
import { changeNames, changes } from './measures.ts';
import { type Case, samplesOf } from './results.ts';
import { fitLine, type Line } from './statistics.ts';

const GIB = 2 ** 30;

export interface Slope {
  readonly title: string;
  /** ms per GiB. */
  readonly line: Line;
}

const BY_SIZE = {
  'full checkpoint, durable': 'floe.full.wallMs',
  'full checkpoint, time frozen': 'floe.full.frozenMs',
  '(c) bare `criu dump`': 'dump.wallMs',
  'eager thaw': 'floe.eager.firstInstructionMs',
  'lazy thaw, first instruction': 'floe.lazy.firstInstructionMs',
  'lazy thaw, filled under a sweep': 'floe.lazy.sweptMs',
} as const;

/** Per GiB of size, of cases that differ in size alone; what was measured for fewer than two sizes is left out. */
export function slopesBySize(cases: readonly Case[]): Slope[] {
  return Object.entries(BY_SIZE).flatMap(([title, name]) => {
    const points = cases.flatMap((measured) =>
      samplesOf(measured, name).map((value) => [measured.sizeBytes / GIB, value] as const),
    );
    const line = fitLine(points);
    return line ? [{ title, line }] : [];
  });
}

/** Per changed GiB, for changes in one region of one size. */
export function slopesByChange(measured: Case): Slope[] {
  const regions = changeNames.filter((name) => changes[name].spread === 'region');
  return (['wallMs', 'frozenMs'] as const).flatMap((what) => {
    const points = regions.flatMap((name) =>
      measured.samples.flatMap((sample) => {
        const [changed, value] = [sample[`floe.${name}.changedBytes`], sample[`floe.${name}.${what}`]];
        return changed === undefined || value === undefined ? [] : [[changed / GIB, value] as const];
      }),
    );
    const line = fitLine(points);
    return line ? [{ title: what === 'wallMs' ? 'durable' : 'time frozen', line }] : [];
  });
}
