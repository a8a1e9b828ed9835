/** `/`: workers, jobs and what happened last. */
import { isFinal, type JobEvent, type JobState, type WorkerDescription } from '../jobs/index.ts';
import type { Role } from './accounts.ts';
import { formatAgo, formatDuration, formatProgress, formatSize, percentOf } from './format.ts';
import { type Html, html } from './html.ts';
import { layout } from './layout.ts';
import type { Fleet, ListedJob } from './readFleet.ts';

export function fleetPage(fleet: Fleet, role: Role): string {
  const going = fleet.jobs.filter((job) => !isFinal(job.record.state));
  const finished = fleet.jobs.filter((job) => isFinal(job.record.state));
  return layout({
    title: 'Fleet',
    role,
    live: true,
    body: html`<h1 class="hidden">Fleet</h1>
<section class="figures" id="figures" data-live>${figures(fleet)}</section>
<section class="card" id="workers" data-live><h2>Workers</h2>${workers(fleet, role)}</section>
<div class="columns">
<section class="card" id="jobs" data-live><h2>Jobs</h2>${jobList(going, fleet.at, 'No job waits or runs.')}
<h2>Finished last</h2>${jobList(finished, fleet.at, 'None has finished yet.')}</section>
<section class="card" id="events" data-live><h2>What happened</h2>${eventList(fleet.events, fleet.at)}</section>
</div>`,
  });
}

function figures({ workers, counts }: Fleet): Html {
  const slots = workers.reduce((sum, worker) => sum + worker.slots, 0);
  const busy = workers.reduce((sum, worker) => sum + worker.jobs.length, 0);
  const figure = (value: string | number, label: string, kind = '') =>
    html`<div class="figure ${kind}"><b>${value}</b><span>${label}</span></div>`;
  return html`${figure(workers.length, workers.length === 1 ? 'worker' : 'workers')}
${figure(`${busy} / ${slots}`, 'slots in use')}
${figure(counts.active, 'with a worker', 'running')}
${figure(counts.waiting, 'waiting', 'queued')}
${figure(counts.succeeded, 'succeeded', 'succeeded')}
${figure(counts.failed, 'failed', counts.failed > 0 ? 'failed' : '')}`;
}

function workers(fleet: Fleet, role: Role): Html {
  if (fleet.workers.length === 0) {
    return html`<p class="empty">No worker is there. Start one with <code>floe worker</code>.</p>`;
  }
  return html`<div class="workers">${fleet.workers.map((worker) => workerCard(worker, fleet.at, role))}</div>`;
}

function workerCard(worker: WorkerDescription, now: number, role: Role): Html {
  const silentMs = now - worker.heartbeatAt;
  const drain =
    role === 'operator' &&
    worker.state === 'ready' &&
    html`<form method="post" action="/workers/${encodeURIComponent(worker.name)}/drain"><button class="quiet">Drain</button></form>`;
  return html`<article class="worker ${worker.state}">
<div class="row"><h3>${worker.name}</h3><span class="badge ${worker.state}">${worker.state}</span></div>
<p class="dim">${worker.host} · ${worker.runtime} · CRIU ${worker.criuVersion} · ${worker.pools.join(', ')}</p>
<div class="slots" role="img" aria-label="${worker.jobs.length} of ${worker.slots} slots in use">${slotMarks(worker)}</div>
${worker.jobs.length > 0 && html`<p class="jobs-here">${worker.jobs.map((id) => html`<a class="id" href="${jobPath(id)}">${id}</a> `)}</p>`}
${worker.notice && notice(worker.notice, now)}
<div class="row"><span class="dim">up ${formatDuration(now - worker.startedAt)}${silentMs > 6000 && html` · <b class="warn">silent for ${formatDuration(silentMs)}</b>`}</span>${drain}</div>
</article>`;
}

/** One mark per slot; a number takes over where they would not fit. */
function slotMarks({ slots, jobs }: WorkerDescription): Html {
  if (slots > 32) return html`<span class="dim">${jobs.length} of ${slots} slots</span>`;
  return html`${Array.from({ length: slots }, (_, at) => html`<i class="${at < jobs.length ? 'used' : ''}"></i>`)}`;
}

function notice({ source, deadlineAt }: NonNullable<WorkerDescription['notice']>, now: number): Html {
  if (deadlineAt === null) return html`<p class="notice">Going away: ${source}</p>`;
  return html`<p class="notice">Going away in <b data-until="${deadlineAt}">${formatDuration(deadlineAt - now)}</b>: ${source}</p>`;
}

const ORDER: readonly JobState[] = ['freezing', 'thawing', 'running', 'frozen', 'queued'];

function jobList(jobs: readonly ListedJob[], now: number, empty: string): Html {
  if (jobs.length === 0) return html`<p class="empty">${empty}</p>`;
  const rank = (job: ListedJob) => ORDER.indexOf(job.record.state);
  const sorted = jobs.toSorted((a, b) => rank(a) - rank(b));
  return html`<div class="scroll"><table class="jobs"><thead><tr><th>State</th><th>Job</th><th>Worker</th><th class="number">Ran</th><th class="number">Runs</th><th>Last checkpoint</th></tr></thead>
<tbody>${sorted.map((job) => jobRow(job, now))}</tbody></table></div>`;
}

function jobRow({ id, record }: ListedJob, now: number): Html {
  const link = html`<a href="${jobPath(id)}"><span class="name">${record.name || id}</span><br><span class="id">${id}</span></a>`;
  return html`<tr>
<td>${badge(record.state)}</td><td>${link}${record.progress && progressBar(record.progress)}</td>
<td>${record.worker ?? '–'}</td><td class="number">${formatDuration(record.ranMs)}</td>
<td class="number">${record.epoch}${record.crashes > 0 && html` <span class="warn" title="hard crashes of workers">${record.crashes}×</span>`}</td>
<td>${record.checkpointAt === null ? '–' : formatAgo(record.checkpointAt, now)}</td></tr>`;
}

export function badge(state: JobState): Html {
  return html`<span class="badge ${state}">${state}</span>`;
}

export function progressBar(progress: Parameters<typeof formatProgress>[0]): Html {
  const percent = percentOf(progress);
  return html`<div class="progress">${percent === null ? html`<progress></progress>` : html`<progress max="100" value="${percent}">${percent} %</progress>`}<span class="dim">${formatProgress(progress)}</span></div>`;
}

export function jobPath(id: string): string {
  return `/jobs/${encodeURIComponent(id)}`;
}

function eventList(events: readonly JobEvent[], now: number): Html {
  if (events.length === 0) return html`<p class="empty">Nothing yet.</p>`;
  return html`<ol class="events">${events.map(
    (event) =>
      html`<li class="${event.type}"><span class="when">${formatAgo(event.at, now)}</span><div><a class="id" href="${jobPath(event.jobId)}">${event.jobId}</a> ${describeEvent(event)}</div></li>`,
  )}</ol>`;
}

/** One sentence per kind of event. */
export function describeEvent(event: JobEvent): Html {
  switch (event.type) {
    case 'submitted':
      return html`was submitted`;
    case 'started':
      return html`started on <b>${event.worker}</b>`;
    case 'thawed':
      return html`thawed on <b>${event.worker}</b> in ${formatDuration(event.thawMs)}`;
    case 'freezing':
      return html`is being frozen on <b>${event.worker}</b>: ${event.why}`;
    case 'checkpointed':
      return html`was checkpointed on <b>${event.worker}</b>: stood still ${formatDuration(event.frozenMs)}, ${formatSize(event.bytesSent)} sent`;
    case 'frozen':
      return html`left <b>${event.worker}</b> frozen: ${formatDuration(event.frozenMs)}, ${formatSize(event.bytesSent)} sent`;
    case 'freezeFailed':
      return html`could not be frozen on <b>${event.worker}</b> and runs on: ${event.message}`;
    case 'crashed':
      return html`lost its worker <b>${event.worker}</b>: ${formatDuration(event.lostMs)} of work are done again`;
    case 'stopped':
      return html`was stopped on <b>${event.worker}</b>: ${event.message}; ${formatDuration(event.lostMs)} of work are done again`;
    case 'passedOver':
      return html`passed over a checkpoint: ${event.message}`;
    case 'attemptFailed':
      return html`failed for the ${event.failures}. time and will start again: ${event.message}`;
    case 'succeeded':
    case 'failed':
    case 'cancelled':
      return html`<b class="${event.type}">${event.type}</b>${event.message !== '' && html`: ${event.message}`}`;
  }
}
