/** Engines that stop, are killed or come back, disks that fill up, and hands from outside: nothing that was saved is lost by it. */
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { testImage } from '../../test/images/testImage.ts';
import { requireEngine } from '../../test/support/engine.ts';
import { type PrivateEngine, startPrivateEngine } from '../../test/support/privateEngine.ts';
import type { Run } from '../runtime.ts';
import { type Kind, onStage, output, type Stage, untilLines } from '../testing/stage.ts';
import { debian } from './testing/kinds.ts';

const STEPS = 300;
const MEMORY = ['/usr/local/bin/memory', '8', String(STEPS), 'tree', '--pace-ms', '20'];
const VOLUME = { volumes: ['/srv/job'] };
const AWAY = { code: 'cannotRun', message: expect.stringContaining('container engine does not answer') };

async function docker(...args: string[]): Promise<string> {
  return (await execa('docker', args)).stdout;
}

/** The containers and volumes that the engine has of the stage's first machine. */
async function left(stage: Stage): Promise<string> {
  const ofStage = ['--quiet', '--filter', `label=floe.state=${stage.stateDirectory('m0')}`];
  return (await docker('ps', '--all', ...ofStage)) + (await docker('volume', 'ls', ...ofStage));
}

async function containerOf(stage: Stage): Promise<string> {
  return docker('ps', '--quiet', '--filter', `label=floe.state=${stage.stateDirectory('m0')}`);
}

const lineCount = async (run: Run) => (await output(run)).split('\n').length - 1;
const untilMoreLines = async (run: Run) => untilLines(run, (await lineCount(run)) + 5);
const freeze = (stage: Stage, run: Run, signal?: AbortSignal) =>
  run.freeze({ place: stage.place, epoch: 1, afterwards: 'continue', ...(signal ? { signal } : {}) });

async function expectWhole(run: Run): Promise<void> {
  expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  const steps = (await output(run)).match(/^step \d+/gm);
  expect(steps).toEqual(Array.from({ length: STEPS }, (_, at) => `step ${at + 1}`));
}

describe('an engine', () => {
  let engine: PrivateEngine;
  const own: Kind = {
    ...debian,
    prepare: async () => {
      const image = await testImage(await requireEngine(), 'debian');
      engine = await startPrivateEngine();
      await engine.take(image);
      return { image };
    },
  };
  beforeEach(async () => {
    vi.stubEnv('DOCKER_HOST', engine.env.DOCKER_HOST);
    if ((await execa('docker', ['version'], { reject: false })).failed) await engine.start(); // a test before failed
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await engine?.[Symbol.asyncDispose]();
  });
  const stage = onStage(own, { newMachines: true });

  async function startWithCheckpoint(): Promise<{ run: Run; checkpoint: string }> {
    const run = await stage().start(MEMORY, undefined, VOLUME);
    await untilLines(run, 5);
    const { checkpoint } = await freeze(stage(), run);
    return { run, checkpoint: checkpoint.id };
  }

  test('that is stopped is told of, and used again when it is back', async () => {
    await stage().machine('m0').check();
    await engine.stop();
    await expect(stage().machine('m0').check()).rejects.toMatchObject({
      ...AWAY,
      remedy: expect.stringContaining('Start the Docker daemon'),
    });
    await expect(stage().start(['true'])).rejects.toMatchObject(AWAY);
    await expect(stage().thaw('00000001-000001', 2)).rejects.toMatchObject(AWAY);
    await engine.start();
    expect(await (await stage().start(['true'])).ended).toEqual({ kind: 'exited', code: 0 });
    await stage().machine('m2').check();
  });

  test('that is killed takes nothing along until it starts again; then the job goes on from its checkpoint', async () => {
    const { run, checkpoint } = await startWithCheckpoint();
    await engine.stop('SIGKILL');
    await untilMoreLines(run);
    await expect(freeze(stage(), run)).rejects.toMatchObject(AWAY);
    await untilMoreLines(run);
    expect(await stage().checkpoints()).toEqual([checkpoint]);
    await engine.start();
    expect(await run.ended).toEqual({ kind: 'lost', reason: expect.stringContaining('The container ended.') });
    await run[Symbol.asyncDispose]();
    await stage().machine('m0').check();
    expect(await left(stage())).toBe('');
    await expectWhole(await stage().thaw(checkpoint, 2, VOLUME));
  });

  test('that is stopped while a job runs ends it; what it could not remove is gone when it is back', async () => {
    const { run, checkpoint } = await startWithCheckpoint();
    await engine.stop();
    expect(await run.ended).toMatchObject({ kind: 'lost' });
    await run[Symbol.asyncDispose]();
    await engine.start();
    await stage().machine('m0').check();
    expect(await left(stage())).toBe('');
    await expectWhole(await stage().thaw(checkpoint, 2, VOLUME));
  });

  test('that has lost the mount of a container finds all of its files deleted: no such checkpoint is made', async () => {
    const { run, checkpoint } = await startWithCheckpoint();
    const container = await containerOf(stage());
    const mount = await docker('inspect', '--format', '{{.GraphDriver.Data.MergedDir}}', container);
    await execa('umount', ['--lazy', mount]);
    const refusal = { code: 'cannotFreeze', message: expect.stringContaining('says that /') };
    await expect(freeze(stage(), run)).rejects.toMatchObject(refusal);
    expect(await stage().checkpoints()).toEqual([checkpoint]);
    await expectWhole(run);
  });

  test('that hangs keeps no job from running on when its freeze is cancelled', async () => {
    const { run, checkpoint } = await startWithCheckpoint();
    engine.hang();
    try {
      const freezing = freeze(stage(), run, AbortSignal.timeout(3000));
      await expect(freezing).rejects.toMatchObject({ code: 'cancelled' });
      await untilMoreLines(run);
    } finally {
      engine.goOn();
    }
    await expectWhole(run);
    expect(await stage().checkpoints()).toEqual([checkpoint]);
  });
});

describe('a container that somebody', () => {
  const stage = onStage(debian, { newMachines: true });

  async function startWithCheckpoint(): Promise<{ run: Run; checkpoint: string }> {
    const run = await stage().start(MEMORY, undefined, VOLUME);
    await untilLines(run, 5);
    const { checkpoint } = await freeze(stage(), run);
    return { run, checkpoint: checkpoint.id };
  }

  test.each(['kill', 'stop', 'rm --force'])('ends by docker %s is lost, and nothing but the container', async (how) => {
    const { run, checkpoint } = await startWithCheckpoint();
    await docker(...how.split(' '), await containerOf(stage()));
    expect(await run.ended).toMatchObject({ kind: 'lost' });
    await run[Symbol.asyncDispose]();
    expect(await left(stage())).toBe('');
    await expectWhole(await stage().thaw(checkpoint, 2, VOLUME));
  });

  test('kills is lost, and not out of memory, when one of its processes was before', async () => {
    const script = `perl -e 'my $all = "x" x 400_000_000'; echo "that was too much"; sleep 1000`;
    const spec = { resources: { memoryBytes: 32 * 2 ** 20 } };
    const run = await stage().start(['sh', '-c', script], undefined, spec);
    await untilLines(run, 1);
    stage().renewNewest(600_000);
    await freeze(stage(), run); // takes longer than the look at the memory that came before
    await docker('kill', await containerOf(stage()));
    expect(await run.ended).toMatchObject({ kind: 'lost' });
  });

  test('pauses stands still, is not frozen, and goes on', async () => {
    const { run } = await startWithCheckpoint();
    const container = await containerOf(stage());
    await docker('pause', container);
    const freezing = freeze(stage(), run, AbortSignal.timeout(1000));
    await expect(freezing).rejects.toMatchObject({ code: 'cancelled' });
    await docker('unpause', container);
    await expectWhole(run);
  });

  test('pauses beyond its lease is ended when it goes on', async () => {
    const { run } = await startWithCheckpoint();
    const container = await containerOf(stage());
    stage().renewNewest(5000);
    await docker('pause', container);
    await setTimeout(5500); // the lease is a span of time, and nothing tells that it has run out
    await docker('unpause', container);
    expect(await run.ended).toEqual({ kind: 'lost', reason: expect.stringContaining('lease on the job ran out') });
  });

  test('pauses can be ended', async () => {
    const { run } = await startWithCheckpoint();
    await docker('pause', await containerOf(stage()));
    await run.kill();
    expect(await left(stage())).toBe('');
  });
});

describe("a full disk, which is the state folder's", () => {
  const stage = onStage(debian, { newMachines: true });

  async function resizeState(size: string, options = ''): Promise<void> {
    const target = stage().stateDirectory('m0');
    await execa('mount', ['-t', 'tmpfs', '-o', `${options}size=${size}`, 'tmpfs', target]);
  }

  async function makeState(size: string): Promise<void> {
    const target = stage().stateDirectory('m0');
    await mkdir(target);
    await resizeState(size);
  }

  afterEach(async () => {
    await execa('umount', ['--lazy', stage().stateDirectory('m0')]);
  });

  test('is told of when a worker starts, and that is all: it starts when there is room', async () => {
    await makeState('20m');
    await expect(stage().machine('m0').check()).rejects.toMatchObject({
      code: 'diskFull',
      remedy: expect.stringContaining('state folder'),
    });
    await resizeState('1g', 'remount,');
    await stage().machine('m0').check();
  });

  test('lets a job run on whose files find no room at a freeze, and be frozen when there is', async () => {
    await makeState('1g');
    const script = `i=0; until [ -e go ]; do i=$((i+1)); echo "step $i"; sleep 0.02
[ ! -e grow ] || { rm grow; perl -e 'print "x" x 50_000_000' > /opt/large; }; done; stat -c %s /opt/large`;
    const run = await stage().start(['sh', '-c', script]);
    await untilLines(run, 5);
    const { checkpoint } = await freeze(stage(), run);
    await writeFile(join(run.workspace, 'grow'), '');
    await expect.poll(() => readdir(run.workspace)).toEqual([]);
    const filler = join(stage().stateDirectory('m0'), 'filler');
    const { bavail, bsize } = await statfs(stage().stateDirectory('m0'));
    await execa('fallocate', ['--length', String(bavail * bsize - 20 * 2 ** 20), filler]);
    await untilMoreLines(run);
    await expect(freeze(stage(), run)).rejects.toMatchObject({ code: 'diskFull' });
    await untilMoreLines(run);
    expect(await stage().checkpoints()).toEqual([checkpoint.id]);
    await rm(filler);
    const again = await stage().move(run, 1);
    await writeFile(join(again.workspace, 'go'), '');
    expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(again)).toMatch(/\n50000000\n$/);
  });
});
