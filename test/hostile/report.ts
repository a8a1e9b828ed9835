/** What a hostile run tells at its end. */
import { stripVTControlCharacters } from 'node:util';
import { formatBytes, formatDuration, formatTable, plain } from '../../producers/cli/format.ts';
import type { HonestCount } from './honest.ts';
import type { Weight } from './measures.ts';
import type { RuntimeName } from './stage.ts';

/** The issue that asked for it: a worker's loop may be this much later than an idle process'. */
const MOST_EXCESS_MS = 50;

export interface Tried {
  readonly name: string;
  readonly runtime: RuntimeName;
  readonly ending: string;
  /** What was wrong; null where nothing was. */
  readonly breach: string | null;
  readonly tookMs: number;
}

export interface Summary {
  readonly tried: readonly Tried[];
  /** What was reached, changed or lost besides, in words. */
  readonly breaches: readonly string[];
  readonly honest: Readonly<Partial<Record<RuntimeName, HonestCount>>>;
  readonly weights: readonly Weight[];
  readonly tookMs: number;
}

/** Whether everything held. */
export function held({ tried, breaches }: Summary): boolean {
  return breaches.length === 0 && tried.every(({ breach }) => breach === null);
}

export function formatSummary(summary: Summary): string {
  const { tried, breaches, tookMs } = summary;
  const rows = tried.map(({ name, runtime, ending, breach, tookMs: took }) => [
    name,
    runtime,
    shorten(ending),
    breach === null ? 'held' : 'BREACH',
    formatDuration(took),
  ]);
  const broken = tried.filter(({ breach }) => breach !== null);
  const sentences = [
    ...broken.map(({ name, runtime, breach }) => `${name} (${runtime}): ${breach}`),
    ...breaches.map((breach) => `besides: ${breach}`),
  ];
  const verdict = held(summary) ? 'Everything held.' : `${sentences.length} breaches:`;
  return [
    formatTable(['CASE', 'RUNTIME', 'ENDED', '', 'TOOK'], rows, Number.POSITIVE_INFINITY),
    ...formatHonest(summary),
    ...summary.weights.map(formatWeight),
    '',
    `${tried.length} attacks in ${formatDuration(tookMs)}. ${verdict}`,
    ...sentences.map((sentence) => `- ${plain(stripVTControlCharacters(sentence)).slice(0, 1200)}`),
    '',
  ].join('\n');
}

function formatHonest({ honest }: Summary): string[] {
  return Object.entries(honest).map(
    ([runtime, { succeeded, moved }]) => `honest jobs (${runtime}): ${succeeded} right, ${moved} of them moved`,
  );
}

function formatWeight(weight: Weight): string {
  const { worker, maxMs, excessMs, excessAt, firstRssBytes, lastRssBytes, maxRssBytes } = weight;
  const bound = excessMs > MOST_EXCESS_MS ? `more than ${MOST_EXCESS_MS} ms` : `within ${MOST_EXCESS_MS} ms`;
  const at = new Date(excessAt).toISOString().slice(11, 19);
  const memory = [firstRssBytes, lastRssBytes, maxRssBytes].map(formatBytes);
  return (
    `${worker}: event loop late by ${maxMs.toFixed(0)} ms at most, ` +
    `${excessMs.toFixed(0)} ms more than an idle process (at ${at}, ${bound}); ` +
    `memory ${memory[0]} at first, ${memory[1]} at last, ${memory[2]} at most`
  );
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}
