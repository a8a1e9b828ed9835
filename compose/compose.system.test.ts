/** The whole stack in containers, as a user brings it up: jobs in images move between workers that are stopped, killed, scaled and upgraded. */
import { createHash } from 'node:crypto';
import { glob, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { JobView } from '../producers/index.ts';
import { requireEngine } from '../test/support/engine.ts';
import { Stack } from './stack.ts';

const WAIT = { timeout: 90_000, interval: 200 };
const PIPELINE = ['400', '2', '4000'];

/** Counts until it finds the file `enough` in its workspace, and makes a chain of all that it has counted. */
const COUNTER = `
import hashlib, os, time
number, chain = 0, ''
while not os.path.exists('enough'):
    number += 1
    chain = hashlib.sha256(f'{chain}{number}'.encode()).hexdigest()
    print(number, chain, flush=True)
    time.sleep(0.05)
open('chain', 'w').write(chain)
`;

describe('the stack', () => {
  let stack: Stack;
  beforeAll(async () => {
    await requireEngine();
    stack = await Stack.open({ version: 'test-1', slots: 2, samples: ['numeric', 'pipeline'] });
  }, 900_000);
  afterAll(() => stack?.[Symbol.asyncDispose]());

  it('has Valkey durable and closed, and a dashboard that wants its password', async () => {
    const settings = await stack.compose('exec', '--no-TTY', 'valkey', 'sh', '-c', ASK_VALKEY);
    const lines = settings.split('\n').filter((line) => line !== '');
    expect(lines).toEqual(['NOAUTH Authentication required.', 'appendonly', 'yes', POLICY, 'noeviction']);
    const { url, password } = await stack.dashboard();
    expect((await fetch(url)).status).toBe(401);
    expect(await logIn(url, 'a guess')).toBe(401);
    expect(await logIn(url, password)).toBe(303);
    expect((await stack.floe.workers()).map(({ name }) => name)).toEqual(['worker-1', 'worker-2']);
  });

  it('loses no job, no line and no work that was told of while its workers come and go', async () => {
    const counter = await stack.floe.submit({
      image: stack.image('numeric'),
      command: ['python3', '-c', COUNTER],
      outputs: ['chain'],
    });
    const pipeline = await stack.floe.submit({ image: stack.image('pipeline'), command: ['pipeline', ...PIPELINE] });

    // A notice: the worker gives back what it has.
    await stack.signal(await workerOf(counter), 'TERM');
    await workerOf(counter);
    await stack.up('--scale', 'worker=3', '--no-recreate');
    expect((await stack.floe.workers()).map(({ name }) => name)).toEqual(['worker-1', 'worker-2', 'worker-3']);
    // An upgrade in place: other images, the same project, and every worker is another container.
    await upgrade();
    const worker = await workerOf(counter);
    // No notice at all: the job goes on from its last checkpoint.
    await stack.floe.checkpoint(counter);
    await stack.signal(worker, 'KILL');
    await workerOf(counter);
    // Down to one, which may be the one that has the job or another.
    await stack.up('--scale', 'worker=1', '--no-recreate');
    await workerOf(counter);
    await endCounting();

    const ids = [counter, pipeline];
    const results = await Promise.all(ids.map((id) => stack.floe.waitUntilFinished(id)));
    expect(results.map(({ end }) => end?.exitCode)).toEqual([0, 0]);
    const counted = (await log(counter)).trimEnd().split('\n');
    expect(counted).toEqual(chain(counted.length));
    expect(await log(pipeline)).toBe(`${await stack.undisturbed('pipeline', PIPELINE)}\n`);
    const { runs, failures } = await stack.floe.get(counter);
    expect(failures).toBe(0);
    // The first, and one after the notice, the upgrade and the kill each; scaling may have spared it.
    expect(runs.length).toBeGreaterThanOrEqual(4);
  }, 300_000);

  /** Resolves when the job has printed more in its present run, to the worker that it is on. */
  async function workerOf(id: string): Promise<string> {
    const before = (await log(id)).length;
    const running = await vi.waitFor(async (): Promise<JobView> => {
      const view = await stack.floe.get(id);
      expect(view.state).toBe('running');
      expect((await log(id)).length).toBeGreaterThan(before);
      return view;
    }, WAIT);
    return running.worker ?? '';
  }

  async function upgrade(): Promise<void> {
    stack.useVersion('test-2');
    await stack.build(['valkey', 'worker', 'dashboard']);
    await stack.up('--scale', 'worker=3');
    const hosts = (await stack.floe.workers()).map(({ host }) => host);
    const format = '{{index .Config.Labels "org.opencontainers.image.version"}}';
    const { stdout } = await stack.docker('inspect', '--format', format, ...hosts);
    expect(stdout.split('\n')).toEqual(['test-2', 'test-2', 'test-2']);
  }

  /** Puts the file into the workspace of the job's present run, as this machine sees it. */
  async function endCounting(): Promise<void> {
    const runs = join(stack.directory, 'state', 'workers', '*', '**', 'workspace');
    for await (const workspace of glob(runs)) await writeFile(join(workspace, 'enough'), '');
  }

  async function log(id: string): Promise<string> {
    const entries = await Array.fromAsync(stack.floe.logs(id));
    const pieces = entries.flatMap((entry) =>
      entry.kind === 'text' && entry.stream === 'stdout' ? [entry.bytes] : [],
    );
    return String(Buffer.concat(pieces));
  }
});

/** What the counter prints up to a number. */
function chain(length: number): string[] {
  const lines: string[] = [];
  let link = '';
  for (let number = 1; number <= length; number++) {
    link = createHash('sha256').update(`${link}${number}`).digest('hex');
    lines.push(`${number} ${link}`);
  }
  return lines;
}

const POLICY = 'maxmemory-policy';
const ASK_VALKEY = `valkey-cli ping
export REDISCLI_AUTH=$(cat /run/secrets/valkey-password)
for name in appendonly ${POLICY}; do valkey-cli config get $name; done`;

/** The status of the answer. */
async function logIn(url: string, password: string): Promise<number> {
  const body = new URLSearchParams({ password });
  const answer = await fetch(`${url}/login`, { method: 'POST', body, redirect: 'manual', headers: { origin: url } });
  return answer.status;
}
