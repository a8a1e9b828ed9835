/**
 * Real programs under real control groups, of whichever version this machine has: what a job may use at most, and what
 * its user is told when it wants more.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { DEFAULT_PROCESSES } from '../processLimit.ts';
import type { CheckpointPlace, Program, RenewLease, Run } from '../runtime.ts';
import { type Controller, type Limits, ownPlace } from './controllers.ts';
import { ALLOWANCE_BYTES, ALLOWANCE_PROCESSES } from './limits.ts';
import { openProcessRuntime } from './runtime.ts';

const MIB = 2 ** 20;
const LEASE_MS = 60_000;
/** Runs within its limits until it is told to take all the memory that it can get. */
const GREEDY = 'echo ready; while [ ! -e go ]; do sleep 0.02; done; exec tail /dev/zero';
const TOLD_SO = {
  kind: 'killed',
  signal: constants.signals.SIGKILL,
  reason: 'The job used more memory than its limit of 48 MiB.',
};

let directory: string;
let place: CheckpointPlace;
const runs: Run[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-limits-'));
  place = { storeUrl: `file://${join(directory, 'store')}`, prefix: 'jobs/a/' };
});

afterEach(async () => {
  for (const run of runs.splice(0)) await run[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const runtime = () => openProcessRuntime({ stateDirectory: directory, toolboxDirectory: defaultToolbox() });

async function start(script: string, resources: Limits): Promise<Run> {
  const run = await runtime().start({ ...options(script, resources), epoch: 1 });
  runs.push(run);
  return run;
}

function options(script: string, resources: Limits) {
  const program: Program = { command: ['sh', '-c', script], env: {}, resources };
  return { jobId: 'a', program, attachLease: (renewLease: RenewLease) => renewLease(LEASE_MS) };
}

async function untilReady(run: Run): Promise<void> {
  await expect.poll(() => readFile(run.logs.stdout, 'utf8'), { timeout: 30_000, interval: 20 }).toBe('ready\n');
}

/** Folders of the groups that this process has made for its runs. */
async function groups(controller: Controller): Promise<string[]> {
  const parent = await ownGroup(controller);
  const names = await readdir(parent);
  return names.filter((name) => name.startsWith(`floe-run-${process.pid}.`)).map((name) => join(parent, name));
}

async function ownGroup(controller: Controller): Promise<string> {
  const [mountInfo, membership] = await Promise.all(
    ['mountinfo', 'cgroup'].map((name) => readFile(`/proc/self/${name}`, 'utf8')),
  );
  const own = ownPlace(mountInfo ?? '', membership ?? '', controller)?.directory ?? 'none';
  return own.replace(/\/floe-worker$/, '');
}

/** What the kernel says of the one group, whichever file of the two versions is there. */
async function readGroup(controller: Controller, ...files: string[]): Promise<string> {
  const [group, ...others] = await groups(controller);
  expect(others).toEqual([]);
  const readings = await Promise.allSettled(files.map((file) => readFile(join(group ?? '', file), 'utf8')));
  return readings.flatMap((reading) => (reading.status === 'fulfilled' ? [reading.value.trim()] : [])).join(' ');
}

describe('memory', () => {
  test('a program that takes more than its limit is killed, and told so', async () => {
    const run = await start('exec tail /dev/zero', { memoryBytes: 48 * MIB });
    expect(await run.ended).toEqual(TOLD_SO);
  });

  test('a program that outlives what it started is told so too', async () => {
    const run = await start('tail /dev/zero; exit 7', { memoryBytes: 48 * MIB });
    expect(await run.ended).toEqual({ kind: 'exited', code: 7, reason: TOLD_SO.reason });
  });

  test('within its limit it is frozen and thawed, and has the same limit after each move', async () => {
    const resources = { memoryBytes: 48 * MIB };
    // It holds nearly as much as it may: a dump or restore that needs more than the allowance is killed.
    const held = 40 * MIB;
    let run = await start(`{ head -c ${held} /dev/zero; sleep 1000; } | tail -c ${held} & ${GREEDY}`, resources);
    await untilReady(run);
    const used = () => readGroup('memory', 'memory.current', 'memory.usage_in_bytes');
    await expect.poll(async () => Number(await used()), { timeout: 30_000 }).toBeGreaterThan(held);
    for (const epoch of [1, 2, 3]) {
      const { checkpoint } = await run.freeze({ place, epoch, afterwards: 'stop' });
      await run[Symbol.asyncDispose]();
      run = await runtime().thaw({
        ...options('unused', resources),
        epoch: epoch + 1,
        place,
        checkpointId: checkpoint.id,
      });
      runs.push(run);
      expect(Number(await readGroup('memory', 'memory.max', 'memory.limit_in_bytes'))).toBe(48 * MIB + ALLOWANCE_BYTES);
    }
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual(TOLD_SO);
  });

  test('a limit so small that the container’s own parts are killed is the program’s failure as well', async () => {
    const run = await start('exec tail /dev/zero', { memoryBytes: MIB });
    expect(await run.ended).toEqual({ ...TOLD_SO, reason: TOLD_SO.reason.replace('48', '1') });
  });

  test('a signal of its own, or an exit, is told without a reason', async () => {
    const killed = await start('kill -9 $$', { memoryBytes: 48 * MIB });
    expect(await killed.ended).toEqual({ kind: 'killed', signal: constants.signals.SIGKILL });
    const exited = await start('exit 3', { memoryBytes: 48 * MIB });
    expect(await exited.ended).toEqual({ kind: 'exited', code: 3 });
  });
});

describe('processes', () => {
  /** Forks for as long as it is let, and then says how often it could. */
  const FORKS =
    'my $n = 0; while ($n < 2000) { my $pid = fork; last if !defined $pid; if (!$pid) { sleep 1000; exit } $n++ } print "$n\\n"; exit 1';

  test('a fork bomb ends at its limit and is told so, the worker and another job run on', async () => {
    const other = await start('echo ready; while [ ! -e go ]; do sleep 0.02; done; echo more', { processes: 20 });
    await untilReady(other);
    const bomb = await start(`exec perl -e '${FORKS}'`, { processes: 50 });
    expect(await bomb.ended).toEqual({
      kind: 'exited',
      code: 1,
      reason: 'The job wanted more than its limit of 50 processes.',
    });
    expect(Number(await readFile(bomb.logs.stdout, 'utf8'))).toBeLessThan(50 + ALLOWANCE_PROCESSES);
    await writeFile(join(other.workspace, 'go'), '');
    expect(await other.ended).toEqual({ kind: 'exited', code: 0 });
  });

  test('one that has as many processes as it may is frozen and thawed, within the limit again', async () => {
    const resources = { processes: 60 };
    const children =
      'for n in $(seq 55); do sleep 1000 & done; echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 3';
    let run = await start(children, resources);
    await untilReady(run);
    for (const epoch of [1, 2, 3]) {
      const { checkpoint } = await run.freeze({ place, epoch, afterwards: 'stop' });
      await run[Symbol.asyncDispose]();
      const thaw = { ...options('unused', resources), epoch: epoch + 1, place, checkpointId: checkpoint.id };
      run = await runtime().thaw(thaw);
      runs.push(run);
      expect(await readGroup('pids', 'pids.max')).toBe(String(60 + ALLOWANCE_PROCESSES));
    }
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 3 });
  });
});

describe('groups', () => {
  test('a job gets no more CPU time than its limit', async () => {
    const run = await start(GREEDY, { cpus: 0.5 });
    await untilReady(run);
    expect(await readGroup('cpu', 'cpu.max', 'cpu.cfs_quota_us', 'cpu.cfs_period_us')).toBe('50000 100000');
  });

  test('hold the job before it has done anything', async () => {
    const run = await start('cat /proc/self/cgroup', { cpus: 2, memoryBytes: 48 * MIB });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    const seen = await readFile(run.logs.stdout, 'utf8');
    const [group = 'none'] = await groups('memory');
    expect(seen).toContain(group.slice(group.lastIndexOf('/')));
  });

  test('hold all of the container but bubblewrap, whose end would pass for a lost container', async () => {
    const run = await start(GREEDY, { memoryBytes: 48 * MIB });
    await untilReady(run);
    const pids = (await readGroup('memory', 'cgroup.procs')).split('\n');
    const names = await Promise.all(pids.map(async (pid) => (await readFile(`/proc/${pid}/comm`, 'utf8')).trim()));
    expect(names).toEqual(expect.arrayContaining(['init', 'sh', 'slirp4netns']));
    expect(names).not.toContain('bwrap');
  });

  test('are gone with their runs', async () => {
    const run = await start(GREEDY, { cpus: 2, memoryBytes: 48 * MIB });
    await untilReady(run);
    expect(await groups('cpu')).toHaveLength(1);
    await run.kill();
    expect([...(await groups('cpu')), ...(await groups('memory'))]).toEqual([]);
  });

  test('limit nothing but processes for a job without limits', async () => {
    await untilReady(await start(GREEDY, {}));
    expect(await groups('memory')).toEqual([]);
    expect(await readGroup('cpu', 'cpu.max', 'cpu.cfs_quota_us')).toMatch(/^(max|-1)/);
    expect(await readGroup('pids', 'pids.max')).toBe(String(DEFAULT_PROCESSES + ALLOWANCE_PROCESSES));
  });

  test('give a job without limits one share of the processors, however many processes it has', async () => {
    const run = await start(`for n in 1 2 3; do sleep 1000 & done; ${GREEDY}`, {});
    await untilReady(run);
    const pids = (await readGroup('cpu', 'cgroup.procs')).split('\n');
    const names = await Promise.all(pids.map(async (pid) => (await readFile(`/proc/${pid}/comm`, 'utf8')).trim()));
    expect(names.filter((name) => name === 'sleep').length).toBeGreaterThanOrEqual(3);
    expect(pids).not.toContain(String(process.pid));
  });

  test('of dead workers are removed by a check, those of the living are not', async () => {
    await untilReady(await start(GREEDY, { memoryBytes: 48 * MIB }));
    const orphan = join(await ownGroup('memory'), 'floe-run-4194304-gone');
    await mkdir(orphan);
    await runtime().check();
    await expect(stat(orphan)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await groups('memory')).toHaveLength(1);
  });

  test('that the kernel does not grant are told with the file that refused, and nothing is left of the run', async () => {
    const refused = start('true', { memoryBytes: -(2 ** 40) });
    await expect(refused).rejects.toMatchObject({
      code: 'notHere',
      message: expect.stringMatching(/cannot limit.*memory\.(max|limit_in_bytes) does not take/),
      remedy: expect.stringContaining('without `resources`'),
    });
    expect(await groups('memory')).toEqual([]);
    expect(await readdir(join(directory, 'runs'))).toEqual([]);
  });
});
