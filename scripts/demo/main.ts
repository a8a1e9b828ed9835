/**
 * `npm run demo`: two jobs on spot machines that are taken away under them, three times.
 *
 * Everything is real but the cloud: Redis, CRIU, worker processes, a store, a dashboard, and notices over HTTP in the
 * protocol of EC2. Exit status: 0 only if every job finished, was moved as often as planned, lost no work, and made the
 * same bytes as an undisturbed run; 1 if not; 2 for wrong usage. The last line is one JSON object (`Figures` in report.ts).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Dashboard, startDashboard } from '../../dashboard/index.ts';
import { embeddedRedisUrl, ensureEmbeddedRedis, stopEmbeddedRedis } from '../../jobs/embeddedRedis.ts';
import { Floe, isFinal } from '../../producers/index.ts';
import { openStore } from '../../store/index.ts';
import { EventFeed } from './eventFeed.ts';
import type { Cluster } from './machine.ts';
import { Machines } from './machines.ts';
import { type Options, readOptions, USAGE } from './options.ts';
import { Pulse } from './pulse.ts';
import { type Figures, figures, type Outcome, print } from './report.ts';
import { Story } from './story.ts';
import { compression, lastLines, memory, type Work } from './work.ts';

/** Makes the memory job, with its 50 ms a step, last about as long as xz takes. */
const STEPS_PER_MIB = 14;

/** What the demo needs to know of a job while it runs. */
interface Submitted {
  readonly work: Work;
  readonly id: string;
}

async function demo(options: Options, cluster: Cluster, signal: AbortSignal): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const story = new Story();
  const { url, password } = await dashboard(cluster, stack);
  const floe = stack.use(
    await Floe.open({ redisUrl: cluster.redisUrl, store: cluster.storeUrl, stateDir: cluster.directory }),
  );
  story.say(`dashboard: ${url}   password: ${password}`);

  const works = [
    await compression(cluster.directory, options.sizeMib),
    await memory(cluster.directory, 64, options.sizeMib * STEPS_PER_MIB),
  ];
  const machines = new Machines(cluster, story, stack);
  await machines.add();
  await machines.add();

  const jobs: Submitted[] = [];
  const feed = stack.use(new EventFeed(floe, story, signal));
  for (const work of works) {
    const id = await floe.submit(work.spec, { workspace: work.workspace });
    story.name(id, work.name);
    story.say(`submitted as ${id}: ${work.title}`, work.name);
    jobs.push({ work, id });
    if (work.name === 'memory') stack.use(new Pulse(floe, id, work.name, story));
  }
  // Both cores work: the undisturbed runs are made meanwhile.
  const undisturbed = Promise.all(works.map((work) => work.undisturbed(signal)));
  undisturbed.catch(() => undefined);

  const main = jobs[0] as Submitted;
  let interruptions = 0;
  while (interruptions < options.interruptions && (await interruptOnce(floe, feed, main.id, machines, options, signal)))
    interruptions++;
  await Promise.all(jobs.map(({ id }) => floe.waitUntilFinished(id, { signal })));

  story.say('comparing with undisturbed runs');
  const outcomes = await Promise.all(
    jobs.map((job, at) =>
      judge(
        floe,
        job,
        undisturbed.then((all) => all[at] ?? ''),
      ),
    ),
  );
  const result = figures(outcomes, interruptions, story.seconds);
  print(outcomes, result);
  if (options.keep) await keepUp(url, password, cluster, signal);
  return result;
}

async function dashboard(cluster: Cluster, stack: AsyncDisposableStack): Promise<{ url: string; password: string }> {
  const store = stack.use(await openStore(cluster.storeUrl));
  const started: Dashboard = stack.use(
    await startDashboard({ redisUrl: cluster.redisUrl, stateDir: cluster.directory, store }),
  );
  return { url: started.url, password: started.password ?? '' };
}

/** Lets the job run for a while, then has its machine taken away while another comes. False when it finished before that. */
async function interruptOnce(
  floe: Floe,
  feed: EventFeed,
  id: string,
  machines: Machines,
  options: Options,
  signal: AbortSignal,
): Promise<boolean> {
  if (!(await untilRunning(floe, id, feed))) return false;
  const untilNotice = AbortSignal.any([signal, AbortSignal.timeout(Math.max(3000, options.sizeMib * 100))]);
  await floe.waitUntilFinished(id, { signal: untilNotice }).catch((error: unknown) => {
    if (!untilNotice.aborted || signal.aborted) throw error;
  });
  const { state, worker } = await floe.get(id);
  if (isFinal(state) || worker === null) return false;
  await Promise.all([machines.add(), machines.takeAway(worker)]);
  return true;
}

/** Resolves when the job makes progress, to true, or has ended, to false. */
async function untilRunning(floe: Floe, id: string, feed: EventFeed): Promise<boolean> {
  for (;;) {
    const next = feed.next(id);
    const { state } = await floe.get(id);
    if (state === 'running' || isFinal(state)) return state === 'running';
    await next;
  }
}

async function judge(floe: Floe, { work, id }: Submitted, undisturbed: Promise<string>): Promise<Outcome> {
  const job = await floe.get(id);
  const made = job.state === 'succeeded' ? await work.made(floe, id) : null;
  return { name: work.name, job, made, undisturbed: await undisturbed };
}

async function keepUp(url: string, password: string, cluster: Cluster, signal: AbortSignal): Promise<void> {
  process.stdout.write(`
Everything stays up until Ctrl-C. Dashboard: ${url}   password: ${password}
Try:
  export FLOE_REDIS_URL=${cluster.redisUrl} FLOE_STORE=${cluster.storeUrl}
  npx floe submit --wait -- sh -c 'for i in $(seq 30); do echo $i; sleep 1; done'
`);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  const interrupted = new AbortController();
  // Not `once`: a listener that removes itself leaves only execa's own, which then ends the process on the spot.
  process.on('SIGINT', () => interrupted.abort(new Error('interrupted')));
  process.on('SIGTERM', () => interrupted.abort(new Error('interrupted')));
  // Whoever read the output has gone: there is nobody to show it to, and everything is still to be taken down.
  process.stdout.on('error', () => interrupted.abort(new Error('nobody reads the output')));
  const directory = await mkdtemp(join(tmpdir(), 'floe-demo-'));
  const cluster = {
    directory,
    redisUrl: embeddedRedisUrl(directory),
    storeUrl: pathToFileURL(join(directory, 'store')).href,
  };
  try {
    await ensureEmbeddedRedis(directory);
    const result = await demo(options, cluster, interrupted.signal);
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return result.identical && result.lostSeconds === 0 && result.interruptions === options.interruptions ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    const words = await lastLines(join(directory, 'machine-1.log'), 5);
    process.stderr.write(
      `demo: ${error instanceof Error ? error.message : String(error)}\nThe first worker's last words:\n${words}\n`,
    );
    return 1;
  } finally {
    await stopEmbeddedRedis(directory);
    await rm(directory, { recursive: true, force: true });
  }
}

process.exitCode = await main();
