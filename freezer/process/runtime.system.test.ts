/** The contract of runtimes, kept by the `process` runtime, and what is this one's own. */
import { appendFile, chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { confinesTheJob } from '../testing/contract/confinement.ts';
import { keepsFiles } from '../testing/contract/files.ts';
import { goesOnAfterFreezes } from '../testing/contract/freezes.ts';
import { keepsTheJobFromTheMachine } from '../testing/contract/hardening.ts';
import { movesAsStream, movesExactly, movesLazily } from '../testing/contract/moves.ts';
import { refusesCheckpoints } from '../testing/contract/refusals.ts';
import { givesSecrets } from '../testing/contract/secrets.ts';
import { type Kind, onStage, output, untilLines } from '../testing/stage.ts';
import { openProcessRuntime } from './runtime.ts';
import { volumesOf } from './volumes.ts';

const kind: Kind = {
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
};

movesExactly(kind);
movesAsStream(kind);
movesLazily(kind);
keepsFiles(kind);
goesOnAfterFreezes(kind);
refusesCheckpoints(kind);
confinesTheJob(kind);
keepsTheJobFromTheMachine(kind);
givesSecrets(kind);

describe('what this runtime does not have it refuses', () => {
  const stage = onStage(kind);

  test('a write to the machine itself fails, and is not left behind', async () => {
    const run = await stage().start(['sh', '-c', 'touch /etc/floe-test /opt/floe-test /floe-test']);
    expect(await run.ended).toEqual({ kind: 'exited', code: 1 });
    expect((await readFile(run.logs.stderr, 'utf8')).match(/Read-only file system/g)).toHaveLength(3);
  });

  test.each([
    [{ image: 'debian' }, 'debian'],
    [{ user: 'nobody' }, 'nobody'],
    [{ resources: { gpus: 2 } }, 'GPUs'],
  ] as const)('%o', async (wish, word) => {
    const refused = stage().start(['true'], undefined, wish);
    await expect(refused).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining(word) });
  });
});

describe('a job', () => {
  const stage = onStage(kind);

  test('starts in the folder that it names', async () => {
    const run = await stage().start(['pwd'], undefined, { directory: '/var/tmp' });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe('/var/tmp\n');
  });

  test('has its own volumes after a move, whichever its thaw is said to have', async () => {
    const volume = '/floe-test-volume';
    const script = `echo kept > ${volume}/file; echo ready; while [ ! -e go ]; do sleep 0.02; done; cat ${volume}/file`;
    let run = await stage().start(['sh', '-c', script], undefined, { volumes: [volume] });
    await untilLines(run, 1);
    for (const [moves, volumes] of [[volume], [], ['/floe-test-other']].entries())
      run = await stage().move(run, moves + 1, { volumes });
    expect((await volumesOf(dirname(run.workspace))).map(({ place }) => place)).toEqual([volume]);
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe('ready\nkept\n');
  });

  test('thaws where the toolbox is of another version, with the supervisor that it started with', async () => {
    const toolboxDirectory = join(stage().directory, 'toolbox');
    await execa('cp', ['--archive', defaultToolbox(), toolboxDirectory]);
    await chmod(join(toolboxDirectory, 'bin/supervisor'), 0o755);
    await appendFile(join(toolboxDirectory, 'bin/supervisor'), 'another build');
    const upgraded = openProcessRuntime({ stateDirectory: stage().stateDirectory('m2'), toolboxDirectory });
    const run = await stage().start(['sh', '-c', 'echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 7']);
    await untilLines(run, 1);
    const { place, attachLease } = stage();
    const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'stop' });
    const options = { jobId: 'a', epoch: 2, program: stage().program(['unused']), attachLease, place };
    await using thawed = await upgraded.thaw({ ...options, checkpointId: checkpoint.id });
    await writeFile(join(thawed.workspace, 'go'), '');
    expect(await thawed.ended).toEqual({ kind: 'exited', code: 7 });
  });
});

describe('check', () => {
  const stage = onStage(kind);

  test('tells what is there', async () => {
    const { criuVersion, cpuFeatures } = await stage().machine('m0').check();
    expect(criuVersion).toMatch(/^\d+\.\d+\.\d+$/);
    expect(cpuFeatures.length).toBeGreaterThan(0);
  });

  test('names what is missing', async () => {
    const nothing = join(stage().directory, 'nothing');
    const runtime = openProcessRuntime({ stateDirectory: stage().directory, toolboxDirectory: nothing });
    await expect(runtime.check()).rejects.toMatchObject({
      code: 'cannotRun',
      remedy: expect.stringContaining('scripts/setup/main'),
    });
  });

  test('removes what a dead worker left, and nothing else', async () => {
    const mine = await stage().start(['sleep', '1000']);
    const orphan = join(stage().stateDirectory('m0'), 'runs', `${process.pid}.1-gone`);
    await mkdir(orphan);
    await stage().machine('m0').check();
    await expect(stat(orphan)).rejects.toMatchObject({ code: 'ENOENT' });
    expect((await stat(mine.workspace)).isDirectory()).toBe(true);
  });
});

describe('a run', () => {
  const stage = onStage(kind);

  test('has folders of its own, though others of its job are begun at the same moment', async () => {
    const runs = await Promise.all([1, 2, 3, 4].map((number) => stage().start(['sh', '-c', `echo ${number} > mine`])));
    for (const run of runs) expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    const files = await Promise.all(runs.map((run) => readFile(join(run.workspace, 'mine'), 'utf8')));
    expect(files).toEqual(['1\n', '2\n', '3\n', '4\n']);
  });

  test('whose agent is killed is lost, and says so in a sentence', async () => {
    const agentPid = 2; // init has forked nothing before it
    // Not before the agent has told of the start.
    const run = await stage().start([
      'sh',
      '-c',
      `until [ -e go ]; do sleep 0.02; done; kill -9 ${agentPid}; sleep 1000`,
    ]);
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'lost', reason: 'The container ended. The agent in it was killed' });
  });
});

describe('folders nested deeper than a path can name', () => {
  const stage = onStage(kind);
  const NEST = ['perl', '-e', '(mkdir "nested" and chdir "nested") or die $! for 1..3000'];

  test('are removed with the run', async () => {
    const run = await stage().start(NEST);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    await run[Symbol.asyncDispose]();
    expect(await readdir(join(stage().stateDirectory('m0'), 'runs'))).toEqual([]);
  });

  test('cannot be frozen, and the program runs on', async () => {
    const script = '"$@"; echo ready; while [ ! -e go ]; do sleep 0.02; done';
    const run = await stage().start(['sh', '-c', script, 'sh', ...NEST]);
    await untilLines(run, 1);
    const freezing = run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
    await expect(freezing).rejects.toMatchObject({ code: 'cannotFreeze' });
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  });

  test('do not keep a worker from starting where a dead one left them', async () => {
    const orphan = join(stage().stateDirectory('m0'), 'runs', `${process.pid}.1-gone`);
    await mkdir(orphan, { recursive: true });
    const [perl = '', ...script] = NEST;
    await execa(perl, script, { cwd: orphan });
    await stage().machine('m0').check();
    expect(await readdir(join(stage().stateDirectory('m0'), 'runs'))).toEqual([]);
  });
});
