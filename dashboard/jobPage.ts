/** `/jobs/<id>`: everything that is known of one job. */
import { isFinal, type JobRecord, type JobSpec, type RunRecord } from '../jobs/index.ts';
import type { Role } from './accounts.ts';
import { badge, progressBar } from './fleetPage.ts';
import { formatAgo, formatCommand, formatDuration, formatSize, formatTime } from './format.ts';
import { type Html, type HtmlValue, html } from './html.ts';
import { layout } from './layout.ts';
import { type JobDetails, storedFiles } from './readJob.ts';
import { maskCommand, maskEnv } from './secrets.ts';
import { awayMs, lanesOf, timeline } from './timeline.ts';

/** `storeUrl`: without credentials, to show where things are kept. */
export function jobPage(job: JobDetails, role: Role, storeUrl: string): string {
  const { id, data, record } = job;
  const name = record.name || id;
  return layout({
    title: name,
    role,
    live: !isFinal(record.state),
    body: html`<section class="job-head" id="head" data-live>
<div><h1><span class="name">${name}</span> ${badge(record.state)}</h1><p class="id">${id}</p></div>
${role === 'operator' && actions(id, record)}</section>
<section class="figures" id="figures" data-live>${figures(job)}</section>
${record.problem && html`<section class="card" id="problem" data-live><h2>Problem</h2><p>${record.problem}</p></section>`}
${record.progress && html`<section class="card" id="progress" data-live>${progressBar(record.progress)}</section>`}
<section class="card" id="runs" data-live><h2>Runs</h2>${runs(job)}</section>
<div class="columns">
<section class="card" id="logs"><h2>Log</h2>${logs(job)}</section>
<div class="stack">${record.result && html`<section class="card"><h2>Result</h2>${result(record.result)}</section>`}
<section class="card" id="kept" data-live><h2>In the store</h2>${kept(job, storeUrl)}</section>
${data && html`<section class="card"><h2>As submitted</h2>${spec(data.spec)}</section>`}</div>
</div>`,
  });
}

function actions(id: string, record: JobRecord): Html | null {
  if (isFinal(record.state)) return null;
  const button = (action: string, label: string, kind: string, asked: number | null) =>
    html`<form method="post" action="/jobs/${encodeURIComponent(id)}/${action}"><button class="${kind}"${asked !== null && html` disabled`}>${asked === null ? label : `${label}: asked for`}</button></form>`;
  return html`<div class="actions">${record.state === 'running' && button('checkpoint', 'Checkpoint', '', record.checkpointRequestedAt)}${button('cancel', 'Cancel', 'danger', record.cancelRequestedAt)}</div>`;
}

function figures({ record, runs, at }: JobDetails): Html {
  const total = (pick: (run: RunRecord) => number) => runs.reduce((sum, run) => sum + pick(run), 0);
  const away = runs.reduce((sum, _, index) => sum + awayMs(runs, index), 0);
  const figure = (value: HtmlValue, label: string) =>
    html`<div class="figure"><b>${value}</b><span>${label}</span></div>`;
  return html`${figure(formatDuration(record.ranMs), 'ran')}
${figure(formatDuration(total((run) => run.frozenMs)), 'stood still')}
${figure(formatDuration(away), 'between workers')}
${figure(formatSize(total((run) => run.bytesSent)), 'sent')}
${figure(formatDuration(record.lostMs), 'work lost')}
${figure(record.checkpointAt === null ? '–' : formatAgo(record.checkpointAt, at), 'last checkpoint')}`;
}

function runs({ record, runs, at }: JobDetails): Html {
  const [first] = runs;
  if (!first) return html`<p class="empty">It has not run yet.</p>`;
  const from = record.submittedAt ?? first.startedAt;
  const until = Math.max(record.finishedAt ?? at, from);
  return html`${timeline(lanesOf(runs, from, until), until - from)}
<div class="scroll"><table><thead><tr><th class="number">Run</th><th>Worker</th><th>Began</th><th class="number">Away before</th><th class="number">Thawed in</th><th class="number">Lasted</th><th class="number">Checkpoints</th><th class="number">Stood still</th><th class="number">Sent</th><th>End</th></tr></thead>
<tbody>${runs.map((run, index) => runRow(run, awayMs(runs, index), at))}</tbody></table></div>`;
}

function runRow(run: RunRecord, away: number, now: number): Html {
  const lost = run.lostMs > 0 && html` <span class="warn">${formatDuration(run.lostMs)} lost</span>`;
  const passedOver = run.passedOver.map(
    (reason) => html`<tr class="note"><td></td><td colspan="9">passed over a checkpoint: ${reason}</td></tr>`,
  );
  return html`<tr><td class="number">${run.epoch}</td><td>${run.worker}</td><td title="${formatTime(run.startedAt)}">${formatAgo(run.startedAt, now)}</td>
<td class="number">${away > 0 ? formatDuration(away) : '–'}</td><td class="number">${run.thawMs === null ? '–' : formatDuration(run.thawMs)}</td>
<td class="number">${formatDuration((run.endedAt ?? now) - run.startedAt)}</td><td class="number">${run.checkpoints}</td>
<td class="number">${formatDuration(run.frozenMs)}</td><td class="number">${formatSize(run.bytesSent)}</td><td>${run.end ?? 'goes on'}${lost}</td></tr>${passedOver}`;
}

function logs({ id, record, logTail }: JobDetails): Html {
  const ended = isFinal(record.state);
  // Redis drops a finished job's log after a while.
  if (ended && logTail.stdout === '' && logTail.stderr === '') return html`<p class="empty">It is in the store.</p>`;
  const one = (stream: 'stdout' | 'stderr') =>
    html`<h3>${stream}</h3><div class="log" id="${stream}" data-live>${
      logTail[stream] === '' ? html`<p class="empty">nothing</p>` : html`<pre>${logTail[stream]}</pre>`
    }</div>`;
  const where = ended
    ? 'The last of its last run; all of it is in the store.'
    : html`The last of this run. All of it: <code>floe logs ${id}</code>`;
  return html`${one('stdout')}${one('stderr')}<p class="dim">${where}</p>`;
}

function result(value: NonNullable<JobRecord['result']>): Html {
  const { end, reason } = value;
  return html`<dl>${term('Outcome', badge(value.outcome))}
${end?.exitCode != null && term('Exit code', end.exitCode)}${end?.signal != null && term('Killed by signal', end.signal)}
${reason && term('Reason', html`${reason.message} <code>${reason.code}</code>`)}
${term('Run', `${value.epoch} on ${value.worker}`)}${term('Finished', formatTime(Date.parse(value.finishedAt)))}
${value.outputs && term('Outputs', `${value.outputs.files} files, ${formatSize(value.outputs.sizeBytes)}`)}
${value.outputs && value.outputs.unmatched.length > 0 && term('Named nothing', value.outputs.unmatched.join(', '))}</dl>`;
}

function kept(job: JobDetails, storeUrl: string): Html {
  // What follows the `?` says how to reach the store and not where things are in it.
  const base = storeUrl.replace(/\?.*$/, '').replace(/\/$/, '');
  const where = (key: string) => html`<code class="key">${base}/${key}</code>`;
  const files = storedFiles(job).map(
    ({ name, title, key, sizeBytes }) =>
      html`<li><a href="/jobs/${encodeURIComponent(job.id)}/files/${name}" download>${title}</a>${sizeBytes !== null && html` <span class="dim">${formatSize(sizeBytes)}</span>`}<br>${where(key)}</li>`,
  );
  const { checkpoint } = job.record;
  const checkpointItem = checkpoint !== null && html`<li>newest checkpoint<br>${where(checkpoint)}</li>`;
  return files.length === 0 && !checkpointItem
    ? html`<p class="empty">Nothing yet.</p>`
    : html`<ul class="kept">${files}${checkpointItem}</ul>`;
}

function spec(value: JobSpec): Html {
  const { resources, checkpoint } = value;
  const env = Object.entries(maskEnv(value.env));
  const limit = (ms: number, none: string) => (ms === 0 ? none : formatDuration(ms));
  return html`<dl>${term('Command', html`<code>${formatCommand(maskCommand(value.command))}</code>`)}
${value.image !== undefined && term('Image', html`<code>${value.image}</code>`)}${term('Pool', value.pool)}
${env.length > 0 && term('Environment', html`<table class="env">${env.map(([name, text]) => html`<tr><td><code>${name}</code></td><td><code>${text}</code></td></tr>`)}</table>`)}
${value.secrets !== undefined && term('Secrets', value.secrets.map(({ name }) => name).join(', '))}
${resources.cpus !== undefined && term('CPUs', resources.cpus)}${resources.memoryBytes !== undefined && term('Memory', formatSize(resources.memoryBytes))}
${term('Priority', value.priority)}${term('Attempts', value.attempts)}${term('Time limit', limit(value.timeoutMs, 'none'))}${term('Crash budget', value.crashBudget)}
${term('Checkpoint every', limit(checkpoint.everyMs, 'interruption only'))}${term('Outputs', html`<code>${value.outputs.join(' ')}</code>`)}</dl>`;
}

function term(name: string, value: HtmlValue): Html {
  return html`<dt>${name}</dt><dd>${value}</dd>`;
}
