/**
 * Loaded into a worker, and into an idle process beside it, by `node --import`: writes a line of JSON a second to the file
 * that FLOE_HOSTILE_LOOP_DELAYS names, with how late the event loop was at most and how much memory the process has.
 */
import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const EVERY_MS = 1000;
const file = process.env.FLOE_HOSTILE_LOOP_DELAYS;

if (file !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  let from = Date.now();
  setInterval(() => {
    const sample = { from, to: Date.now(), maxMs: delay.max / 1e6, rssBytes: process.memoryUsage.rss() };
    delay.reset();
    from = sample.to;
    appendFileSync(file, `${JSON.stringify(sample)}\n`);
  }, EVERY_MS).unref();
  // Programs that it starts are not measured.
  delete process.env.FLOE_HOSTILE_LOOP_DELAYS;
}
