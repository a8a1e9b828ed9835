/**
 * `compose/demo.sh`: three jobs in images on the stack of compose.yaml, whose workers are taken away under them.
 *
 * Everything is as a user has it: the engine, the images, and workers that get the signals which Docker and Compose send.
 * The last line is one JSON object (`Figures` in scripts/demo/report.ts). Exit status: see demo.sh.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs, styleText } from 'node:util';
import { type Floe, isFinal } from '../../producers/index.ts';
import { EventFeed } from '../../scripts/demo/eventFeed.ts';
import { Pulse } from '../../scripts/demo/pulse.ts';
import { type Figures, figures, type Outcome, print } from '../../scripts/demo/report.ts';
import { Story } from '../../scripts/demo/story.ts';
import { SAMPLES, type Sample, Stack } from '../stack.ts';

/** About two minutes each, on two cores that also make the undisturbed runs. */
const ARGUMENTS: Record<Sample, readonly string[]> = {
  numeric: ['400', '30000'],
  video: ['60', '360'],
  pipeline: ['1000', '3', '8000'],
};
const BETWEEN_MS = 8000;

async function demo(keep: boolean, signal: AbortSignal): Promise<Figures> {
  const story = new Story();
  story.say('the images are built, which takes some minutes the first time');
  await using all = new AsyncDisposableStack();
  const stack = all.use(await Stack.open({ version: 'demo', samples: SAMPLES, slots: SAMPLES.length, signal }));
  const { floe } = stack;
  const { url, password } = await stack.dashboard();
  story.say(`Valkey, two workers and the dashboard are up: ${url}   password: ${password}`);
  const feed = all.use(new EventFeed(floe, story, signal));

  const undisturbed = Promise.all(SAMPLES.map((sample) => stack.undisturbed(sample, ARGUMENTS[sample])));
  undisturbed.catch(() => undefined);
  const ids: string[] = [];
  for (const sample of SAMPLES) {
    const id = await floe.submit({ name: sample, image: stack.image(sample), command: [sample, ...ARGUMENTS[sample]] });
    story.name(id, sample);
    story.say(`submitted as ${id}: ${stack.image(sample)} ${ARGUMENTS[sample].join(' ')}`, sample);
    all.use(new Pulse(floe, id, sample, story));
    ids.push(id);
  }

  const interruptions = await interrupt({ stack, story, feed, id: ids[0] ?? '', signal });
  await Promise.all(ids.map((id) => floe.waitUntilFinished(id, { signal })));
  story.say('comparing all that they printed with undisturbed runs');
  const texts = await undisturbed;
  const outcomes = await Promise.all(
    SAMPLES.map(async (name, at): Promise<Outcome> => {
      const job = await floe.get(ids[at] ?? '');
      return { name, job, made: digest(await printed(floe, job.id)), undisturbed: digest(`${texts[at]}\n`) };
    }),
  );
  const result = figures(outcomes, interruptions, story.seconds);
  print(outcomes, result);
  if (keep) await keepUp(stack, url, password, signal);
  story.say('all of it is taken down');
  return result;
}

interface Scene {
  readonly stack: Stack;
  readonly story: Story;
  readonly feed: EventFeed;
  /** The job whose worker is taken away. */
  readonly id: string;
  readonly signal: AbortSignal;
}

/** Takes the job's worker away in each of three ways. Resolves to how often that was done before the job had ended. */
async function interrupt(scene: Scene): Promise<number> {
  const { stack, story, id } = scene;
  const ways: ((worker: string) => Promise<void>)[] = [
    async (worker) => {
      story.say(styleText('yellow', 'gets SIGTERM: its host goes away'), worker);
      await stack.signal(worker, 'TERM');
    },
    async (worker) => {
      story.say(styleText('yellow', 'docker stop: an operator wants it gone'), worker);
      await stack.docker('stop', await stack.containerOf(worker));
    },
    async (worker) => {
      await stack.floe.checkpoint(id);
      story.say(styleText('red', 'gets SIGKILL, without any notice'), worker);
      await stack.signal(worker, 'KILL');
    },
  ];
  for (const [count, takeAway] of ways.entries()) {
    const worker = await whileItRuns(scene);
    if (worker === null) return count;
    await takeAway(worker);
    story.say('is gone', worker);
    await stack.up('--no-recreate');
    story.say('another one comes up in its place', worker);
  }
  return ways.length;
}

/** Lets the job run for a while. Resolves to the worker that it is on; to null when it has ended. */
async function whileItRuns({ stack: { floe }, feed, id, signal }: Scene): Promise<string | null> {
  for (;;) {
    const next = feed.next(id);
    const { state } = await floe.get(id);
    if (isFinal(state)) return null;
    if (state === 'running') break;
    await next;
  }
  await pause(BETWEEN_MS, undefined, { signal });
  const { state, worker } = await floe.get(id);
  return isFinal(state) ? null : worker;
}

async function printed(floe: Floe, id: string): Promise<string> {
  const entries = await Array.fromAsync(floe.logs(id));
  return String(
    Buffer.concat(entries.flatMap((each) => (each.kind === 'text' && each.stream === 'stdout' ? [each.bytes] : []))),
  );
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function keepUp(stack: Stack, url: string, password: string, signal: AbortSignal): Promise<void> {
  process.stdout.write(`
Everything stays up until Ctrl-C. Dashboard: ${url}   password: ${password}
Try:
  docker exec ${stack.project}-dashboard-1 floe ls
  docker exec ${stack.project}-dashboard-1 floe workers
`);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

async function main(): Promise<number> {
  let keep: boolean;
  try {
    keep = parseArgs({ options: { keep: { type: 'boolean', default: false } } }).values.keep;
  } catch (error) {
    process.stderr.write(
      `demo: ${error instanceof Error ? error.message : String(error)}\n\ncompose/demo.sh [--keep]\n`,
    );
    return 2;
  }
  const interrupted = new AbortController();
  // Not `once`: a listener that removes itself leaves only execa's own, which then ends the process on the spot.
  process.on('SIGINT', () => interrupted.abort(new Error('interrupted')));
  process.on('SIGTERM', () => interrupted.abort(new Error('interrupted')));
  // Whoever read the output has gone: there is nobody to show it to, and everything is still to be taken down.
  process.stdout.on('error', () => interrupted.abort(new Error('nobody reads the output')));
  try {
    const result = await demo(keep, interrupted.signal);
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return result.identical && result.interruptions === 3 ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

process.exitCode = await main();
