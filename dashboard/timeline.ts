/** Where a job was, and when: one lane per worker, drawn from its runs. */
import type { RunRecord } from '../jobs/index.ts';
import { formatDuration } from './format.ts';
import { type Html, html } from './html.ts';

/** A stretch of a lane, in percent of the whole time. */
interface Bar {
  kind: 'ran' | 'thaw' | 'crashed';
  fromPercent: number;
  widthPercent: number;
  title: string;
}

export interface Lane {
  worker: string;
  bars: Bar[];
}

/** Lanes in the order in which the job came to their workers. `until`: now, or when the job finished. */
export function lanesOf(runs: readonly RunRecord[], from: number, until: number): Lane[] {
  const wholeMs = Math.max(1, until - from);
  const percent = (ms: number) => Math.min(100, Math.max(0, (100 * ms) / wholeMs));
  const lanes = new Map<string, Bar[]>();
  for (const run of runs) {
    const bars = lanes.get(run.worker) ?? [];
    lanes.set(run.worker, bars);
    const end = Math.max(run.startedAt, run.endedAt ?? until);
    const thawEnd = Math.min(end, run.startedAt + (run.thawMs ?? 0));
    const bar = (kind: Bar['kind'], start: number, stop: number, what: string): Bar => ({
      kind,
      fromPercent: percent(start - from),
      widthPercent: percent(stop - start),
      title: `run ${run.epoch} on ${run.worker}: ${what} ${formatDuration(stop - start)}`,
    });
    if (thawEnd > run.startedAt) bars.push(bar('thaw', run.startedAt, thawEnd, 'thawed in'));
    bars.push(bar(run.end === 'crashed' ? 'crashed' : 'ran', thawEnd, end, 'there for'));
  }
  return [...lanes].map(([worker, bars]) => ({ worker, bars }));
}

export function timeline(lanes: readonly Lane[], wholeMs: number): Html {
  const rows = lanes.map(
    ({ worker, bars }) => html`<div class="lane"><span class="lane-name" title="${worker}">${worker}</span>
<svg width="100%" height="20" role="img" aria-label="runs on ${worker}"><rect class="lane-back" width="100%" height="20" rx="4"/>${bars.map(drawBar)}</svg></div>`,
  );
  return html`<div class="timeline">${rows}<div class="lane axis"><span></span><span class="ends"><span>submitted</span><span class="legend"><span><i class="ran"></i>run</span><span><i class="thaw"></i>thaw</span><span><i class="crashed"></i>run that crashed</span></span><span>${formatDuration(wholeMs)}</span></span></div></div>`;
}

function drawBar(bar: Bar): Html {
  // A run of a second in a job of a day is still worth a pixel or two.
  const width = Math.max(0.35, bar.widthPercent);
  const x = Math.min(bar.fromPercent, 100 - width);
  return html`<rect class="bar ${bar.kind}" x="${x.toFixed(2)}%" width="${width.toFixed(2)}%" height="20" rx="3"><title>${bar.title}</title></rect>`;
}

/** How long nobody ran the job before this run, in ms: since the run before ended. */
export function awayMs(runs: readonly RunRecord[], at: number): number {
  const before = runs[at - 1]?.endedAt;
  const run = runs[at];
  return run && before != null ? Math.max(0, run.startedAt - before) : 0;
}
