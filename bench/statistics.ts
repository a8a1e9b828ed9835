/** The little statistics that a benchmark needs. */

/** Throws `RangeError` for no values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('there is no median of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

export interface Line {
  readonly slope: number;
  readonly intercept: number;
  /** The share of the variance that the line explains, 0 to 1. */
  readonly r2: number;
}

/** The line nearest to some points by least squares; null where they have fewer than two different x. */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): Line | null {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanX = mean(points.map(([x]) => x));
  const meanY = mean(points.map(([, y]) => y));
  const sum = (term: (dx: number, dy: number) => number) =>
    points.reduce((total, [x, y]) => total + term(x - meanX, y - meanY), 0);
  const xx = sum((dx) => dx * dx);
  const yy = sum((_, dy) => dy * dy);
  const xy = sum((dx, dy) => dx * dy);
  if (points.length < 2 || xx === 0) return null;
  const slope = xy / xx;
  return { slope, intercept: meanY - slope * meanX, r2: yy === 0 ? 1 : (xy * xy) / (xx * yy) };
}
