import { describe, expect, test } from 'vitest';
import { markdown, withTables } from './report.ts';
import { type Case, withCase } from './results.ts';

const GIB = 2 ** 30;
const machine = { cpu: 'A CPU', cores: 2, memoryBytes: 24 * GIB, kernel: '6.1', versions: { Node: 'v26' } };

function measured(sizeBytes: number, sample: Record<string, number>, store: Case['store'] = 's3'): Case {
  const samples = [sample, sample, sample];
  return { store, content: 'compressible', sizeBytes, measuredAt: '2030-01-01T00:00:00Z', samples };
}

const rowOf = (text: string, title: string) => text.split('\n').find((line) => line.startsWith(`| ${title}`));
const reported = (...cases: Case[]) => markdown({ machine, cases });

describe('a row', () => {
  test('has the ratio of the medians, both sides, and the verdict', () => {
    const slow = measured(GIB, { 'floe.full.wallMs': 3000, 'disk.wallMs': 5000, 'pipe.wallMs': 4000 });
    expect(rowOf(reported(slow), 'full checkpoint, durable : (a)')).toBe(
      '| full checkpoint, durable : (a) | ≤ 0.5 | 0.600 (3.00 s : 5.00 s), **missed by 20 %** |',
    );
    expect(rowOf(reported(slow), 'full checkpoint, durable : (b)')).toContain('0.750 (3.00 s : 4.00 s), met');
  });

  test('counts samples, not their mean', () => {
    const uneven = measured(GIB, {});
    const samples = [100, 110, 9000].map((frozen) => ({ 'floe.full.frozenMs': frozen, 'dump.wallMs': 100 }));
    expect(rowOf(reported({ ...uneven, samples }), 'time frozen')).toContain('1.10 (110 ms : 100 ms), met');
  });

  test('has no verdict for a store that the target does not speak of', () => {
    const row = rowOf(reported(measured(GIB, { 'floe.full.wallMs': 9, 'disk.wallMs': 3 }, 'file')), 'full checkpoint');
    expect(row).toBe('| full checkpoint, durable : (a) |  | 3.00 (9 ms : 3 ms) |');
  });

  test('is absent where nothing was measured, and a cell empty', () => {
    const text = reported(
      measured(GIB, { 'floe.eager.firstInstructionMs': 9, 'pipe.back.firstInstructionMs': 9 }),
      measured(2 * GIB, {}),
    );
    expect(rowOf(text, 'lazy thaw')).toBeUndefined();
    expect(rowOf(text, 'eager thaw')).toMatch(/met \| {2}\|$/);
  });

  test('shows the largest of what must never be exceeded', () => {
    const samples = [
      { 'floe.full.loopDelayP99Ms': 5, 'floe.eager.loopDelayP99Ms': 60 },
      { 'floe.full.loopDelayP99Ms': 7 },
    ];
    expect(rowOf(reported({ ...measured(GIB, {}), samples }), "caller's event loop")).toContain(
      '60 ms : 50 ms), **missed by 20 %**',
    );
  });
});

test('the growth of the lazy thaw is judged from the smallest size to the largest', () => {
  const first = (ms: number) => ({ 'floe.lazy.firstInstructionMs': ms });
  const text = reported(measured(GIB / 4, first(100)), measured(GIB, first(900)), measured(4 * GIB, first(160)));
  expect(rowOf(text, 'lazy thaw, first instruction: largest')).toMatch(
    /\| {2}\| {2}\| 1.60 \(160 ms : 100 ms\), \*\*missed by 7 %\*\* \|$/,
  );
});

test('slopes: by size, and by what was changed', () => {
  const change = (percent: number, ms: number) => ({
    [`floe.region ${percent} %.changedBytes`]: (percent / 100) * GIB,
    [`floe.region ${percent} %.wallMs`]: ms,
  });
  const increments = { ...change(1, 110), ...change(4, 140), ...change(16, 260) };
  const text = reported(
    measured(GIB, { 'floe.full.wallMs': 500, ...increments }),
    measured(2 * GIB, { 'floe.full.wallMs': 900 }),
  );
  expect(rowOf(text, 'full checkpoint, durable | 400')).toBe(
    '| full checkpoint, durable | 400 ms per GiB | 100 ms | 1.000 |',
  );
  expect(rowOf(text, 'increment at 1 GiB, durable')).toContain('1000 ms per changed GiB | 100 ms | 1.000');
});

describe('the document', () => {
  test('is made where there is none, and made again it is the same', () => {
    const made = withTables('', 'one\n');
    expect(made).toMatch(/^# Benchmarks\n/);
    expect(withTables(made, 'one\n')).toBe(made);
  });

  test('keeps the prose around the tables, and none of the old ones', () => {
    const before = withTables('# Speed\n\nWhat this is.\n', 'one\n');
    const after = withTables(`${before}\nWhat holds it.\n`, 'two\n');
    expect(after).toMatch(/^# Speed\n\nWhat this is\.\n.*two.*\nWhat holds it\.\n$/s);
    expect(after).not.toContain('one');
  });
});

test('a case takes the place of the same one, and the others stay, in order', () => {
  const cases = [4, 1, 0.25].reduce<Case[]>((all, size) => withCase(all, measured(size * GIB, { old: 1 })), []);
  const next = withCase(cases, measured(GIB, { new: 1 }));
  expect(next.map(({ sizeBytes }) => sizeBytes / GIB)).toEqual([0.25, 1, 4]);
  expect(next[1]?.samples[0]).toEqual({ new: 1 });
  expect(withCase(next, measured(GIB, {}, 'file')).map(({ store }) => store)).toEqual(['s3', 's3', 's3', 'file']);
});
