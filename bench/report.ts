/** The results as Markdown, and their place in a document between two marks, so that the prose around them stays. */
import { readFile, writeFile } from 'node:fs/promises';
import type { Case, Results } from './results.ts';
import { type Slope, slopesByChange, slopesBySize } from './slopes.ts';
import { type Comparison, compare, comparisons, GROWTH_TARGET, lazyGrowth, type Outcome } from './targets.ts';

const BEGIN = '<!-- bench: begin (written by `npm run bench`; changes here are lost) -->';
const END = '<!-- bench: end -->';
const GIB = 2 ** 30;
const TITLE = '# Benchmarks\n\n';

export function markdown({ machine, cases }: Results): string {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  const memory = `${Math.round(machine.memoryBytes / GIB)} GiB`;
  const lines = [
    `Machine: ${machine.cpu}, ${machine.cores} cores, ${memory} of memory, Linux ${machine.kernel}. ${versions.join(', ')}.`,
    ...groups(cases).flatMap(groupTables),
  ];
  return `${lines.join('\n\n')}\n`;
}

/** Puts the tables into the document at `path`, which is made where there is none. */
export async function writeReport(path: string, results: Results): Promise<void> {
  const document = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  await writeFile(path, withTables(document, markdown(results)));
}

/** The document with what is between its marks replaced; where it has none they go to its end. */
export function withTables(document: string, tables: string): string {
  const marked = `${BEGIN}\n\n${tables}\n${END}\n`;
  const [before, rest] = split(document, BEGIN);
  if (rest === null) return `${document === '' ? TITLE : `${document.trimEnd()}\n\n`}${marked}`;
  const [, after] = split(rest, `${END}\n`);
  return `${before}${marked}${after ?? ''}`;
}

function split(text: string, at: string): [before: string, after: string | null] {
  const index = text.indexOf(at);
  return index < 0 ? [text, null] : [text.slice(0, index), text.slice(index + at.length)];
}

/** Cases that differ in size alone. */
function groups(cases: readonly Case[]): Case[][] {
  return [...Map.groupBy(cases, ({ store, content }) => `${store} ${content}`).values()];
}

function groupTables(cases: Case[]): string[] {
  const [first] = cases;
  if (!first) return [];
  const store = first.store === 's3' ? 'S3' : 'Directory store';
  const pairs = cases.map(({ samples }) => samples.length);
  const title = `### ${store}, ${first.content} content`;
  const count = `Medians of ${[...new Set(pairs)].join(' or ')} alternating pairs.`;
  return [title, count, comparisonTable(cases), slopeTable(cases)].filter((part) => part !== '');
}

function comparisonTable(cases: readonly Case[]): string {
  const rows = comparisons.map((comparison) => {
    const cells = cases.map((measured) => cell(comparison, compare(comparison, measured)));
    return [comparison.title, target(comparison, cases[0]), ...cells];
  });
  const growth = lazyGrowth(cases);
  if (growth) {
    const cells = cases.map((_, at) =>
      at === cases.length - 1 ? cell({ unit: 'ms', target: GROWTH_TARGET }, growth) : '',
    );
    rows.push(['lazy thaw, first instruction: largest : smallest size', `≤ ${GROWTH_TARGET}`, ...cells]);
  }
  const measured = rows.filter(([, , ...cells]) => cells.some((text) => text !== ''));
  return table(['', 'target', ...cases.map(({ sizeBytes }) => `${sizeBytes / GIB} GiB`)], measured);
}

function target({ target, targetStore }: Comparison, measured: Case | undefined): string {
  return target === undefined || (targetStore ?? measured?.store) !== measured?.store ? '' : `≤ ${target}`;
}

function cell({ unit, target }: Pick<Comparison, 'unit' | 'target'>, outcome: Outcome | null): string {
  if (!outcome) return '';
  const { ratio, isMet } = outcome;
  const sides = `${format(unit, outcome.measured)} : ${format(unit, outcome.reference)}`;
  const excess = Math.round((ratio / (target ?? ratio) - 1) * 100);
  const verdict = isMet === null ? '' : isMet ? ', met' : `, **missed by ${Math.max(1, excess)} %**`;
  return `${ratio.toPrecision(3)} (${sides})${verdict}`;
}

function format(unit: Comparison['unit'], value: number): string {
  if (unit === 'ms') return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(0)} ms`;
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e3).toFixed(0)} kB`;
}

function slopeTable(cases: readonly Case[]): string {
  const row =
    (what: string, per: string) =>
    ({ title, line }: Slope) => [
      `${what}${title}`,
      `${line.slope.toFixed(0)} ms per ${per}`,
      `${line.intercept.toFixed(0)} ms`,
      line.r2.toFixed(3),
    ];
  const rows = [
    ...slopesBySize(cases).map(row('', 'GiB')),
    ...cases.flatMap((measured) =>
      slopesByChange(measured).map(row(`increment at ${measured.sizeBytes / GIB} GiB, `, 'changed GiB')),
    ),
  ];
  return rows.length === 0 ? '' : table(['cost grows (least squares)', 'slope', 'at nothing', 'r²'], rows);
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}
