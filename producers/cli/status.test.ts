import { expect, it } from 'vitest';
import { JobRecord, type RunRecord } from '../../jobs/record.ts';
import type { JobResult } from '../../jobs/result.ts';
import { parseJobSpec } from '../../jobs/spec.ts';
import type { JobView } from '../view.ts';
import { describeProgress, formatStatus } from './status.ts';

const NOW = Date.UTC(2026, 0, 31, 12);

const run: Omit<RunRecord, 'epoch'> = {
  worker: 'w1',
  startedAt: NOW - 3_600_000,
  endedAt: NOW - 600_000,
  end: 'frozen',
  thawedFrom: null,
  passedOver: [],
  thawMs: null,
  logStart: { stdout: 0, stderr: 0 },
  checkpoints: 2,
  frozenMs: 1500,
  bytesSent: 3 * 2 ** 30,
  lostMs: 0,
};

const END: JobResult = {
  version: 1,
  jobId: 'default-k3v9x2m4qa',
  outcome: 'succeeded',
  end: { exitCode: 0, signal: null },
  reason: null,
  epoch: 4,
  worker: 'w1',
  finishedAt: new Date(NOW).toISOString(),
  outputs: null,
  logs: null,
};

function view(change: Partial<JobView>): JobView {
  const record = JobRecord.parse({ state: 'queued', name: 'xz', submittedAt: NOW - 7_200_000 });
  const sums = { frozenMs: 1500, awayMs: 600_000, bytesSent: 0 };
  const spec = parseJobSpec({ command: ['xz', '-9'] });
  return { ...record, ...sums, id: 'default-k3v9x2m4qa', pool: 'default', spec, input: null, runs: [], ...change };
}

it('shows a frozen job: where its checkpoint is, how long it has been away, and its runs', () => {
  const frozen: Partial<JobView> = {
    state: 'frozen',
    frozenSince: NOW - 600_000,
    checkpoint: '00000001-2',
    runs: [{ ...run, epoch: 4 }],
  };
  const text = formatStatus(view(frozen), NOW, 200);
  expect(text).toMatch(/^job +default-k3v9x2m4qa {2}xz$/m);
  expect(text).toMatch(/^state +frozen for 10m 00s, waits for a worker$/m);
  expect(text).toMatch(/^checkpoint +00000001-2$/m);
  expect(text).toMatch(/^time +ran 0 ms, frozen 1.5 s, away 10m 00s, lost 0 ms$/m);
  expect(text).toMatch(/^1 +w1 +.* 50m 00s +afresh +frozen +2 +1\.5 s +3\.0 GiB +0 ms$/m);
});

it('shows the names of the secrets that it asked for', () => {
  const spec = parseJobSpec({ command: ['x'], secrets: ['token', { name: 'db', env: 'PASSWORD' }] });
  expect(formatStatus(view({ spec }), NOW, 200)).toMatch(/^secrets +token, db as PASSWORD$/m);
});

it('shows who runs it and what it is at', () => {
  const progress = {
    step: 'sending',
    doneBytes: 2 ** 30,
    totalBytes: 4 * 2 ** 30,
    bytesPerSecond: 300 * 2 ** 20,
    etaMs: 9200,
  };
  const runs = [{ ...run, epoch: 4, endedAt: null, end: null }];
  const text = formatStatus(view({ state: 'freezing', worker: 'w1', progress, runs }), NOW, 200);
  expect(text).toMatch(/^state +freezing on w1, run 1$/m);
  expect(text).toMatch(/^progress +sending: 1\.0 GiB of 4\.0 GiB \(25 %\) at 300 MiB\/s, 9\.2 s left$/m);
});

it('shows which checkpoints a run passed over, and why', () => {
  const passedOver = ['00000001-000002: The checkpoint is corrupt: packs/00000001-000002-0000 is missing.'];
  const runs = [
    { ...run, epoch: 4 },
    { ...run, epoch: 5, thawedFrom: '00000001-000001', thawMs: 900, passedOver },
  ];
  const text = formatStatus(view({ runs }), NOW, 80);
  expect(text).toContain(`\nrun 2 passed over ${passedOver[0]}\n`);
  expect(text).not.toContain('run 1 passed over');
});

it('shows the image under the name that it was submitted with, and the one that every run has', () => {
  const spec = parseJobSpec({ image: 'python:3.14' });
  const image = `python@sha256:${'a'.repeat(64)}`;
  expect(formatStatus(view({ spec }), NOW, 200)).toMatch(/^image +python:3\.14$/m);
  expect(formatStatus(view({ spec, image }), NOW, 200)).toMatch(/^image +python:3\.14, which is python@sha256:a{64}$/m);
});

it('shows how it ended: a code for programs, and a sentence that may be long', () => {
  const reason = { code: 'imageNotFound', message: 'The image cannot be had. Push it.' };
  const result = { ...END, outcome: 'failed', end: null, reason } as const;
  expect(formatStatus(view({ state: 'failed', result }), NOW, 200)).toMatch(
    /^end +failed: The image cannot be had\. Push it\. \(imageNotFound\)$/m,
  );
});

it('leaves out what is not known', () => {
  const progress = { step: 'thawing', doneBytes: 0, totalBytes: null, bytesPerSecond: null, etaMs: null };
  expect(describeProgress(progress)).toBe('thawing: 0 B');
  expect(formatStatus(view({}), NOW, 200)).not.toMatch(/image|checkpoint|RUN|finished|failures/);
});
