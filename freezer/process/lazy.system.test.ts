/** Lazy thaws: a program that runs before its memory is there never sees, keeps or ends by a byte that is not its own. */
import { readdirSync } from 'node:fs';
import { copyFile, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { processTree } from '../../test/support/processes.ts';
import { program } from '../../test/support/programs.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import type { Run } from '../runtime.ts';
import { movesThrice } from '../testing/contract/moves.ts';
import { type Kind, onStage, output, Stage, untilLines, withPrograms } from '../testing/stage.ts';
import { LEAST_ACCESS } from './machineAccess.ts';
import { openProcessRuntime } from './runtime.ts';

const kind: Kind = {
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
};
const stage = onStage(kind);

test.each(['plain', 'random', 'threads', 'tree', 'shared'])('three lazy moves: %s', async (mode) => {
  const undisturbed = await stage().start(['./memory', '16', '400', mode, '--pace-ms', '1'], withPrograms('memory'));
  expect(await undisturbed.ended).toEqual({ kind: 'exited', code: 0 });
  const expected = await output(undisturbed);
  stage().mode = 'lazy';
  const run = await stage().start(['./memory', '16', '400', mode, '--pace-ms', '10'], withPrograms('memory'));
  await movesThrice(stage(), run, expected);
});

/** Those that this file has started and whose command line has the words: other tests have the same ones beside it. */
async function processesWith(...words: string[]): Promise<number[]> {
  const ours = await processTree(process.pid);
  const found = ours.filter(({ command }) =>
    words.every((word) => command.some((argument) => argument.endsWith(word))),
  );
  return found.map(({ pid }) => pid);
}

/** Has a lot of memory, and when there is a file `on` forks children that touch none of it. */
const FORKS = `
use POSIX; $| = 1;
open my $random, '<', '/dev/urandom'; read $random, my $memory, 512 << 20;
sub forks { for (1 .. $_[0]) { my $pid = fork; POSIX::_exit(0) if !$pid; waitpid $pid, 0 } }
print "started\\n";
select undef, undef, undef, 0.002 until -e 'on';
forks(3);
print "warm\\n";
forks(1000);
print "ended\\n";
`;

describe('while the memory is being brought', () => {
  /** Enough that it is not there yet when the program runs. */
  const SIZE_MIB = '512';

  async function freezeLarge(): Promise<string> {
    const command = ['./memory', SIZE_MIB, '300', '--pace-ms', '10'];
    const run = await stage().start(command, withPrograms('memory'));
    await untilLines(run, 2);
    const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
    await run[Symbol.asyncDispose]();
    return checkpoint.id;
  }

  async function thawLazily(): Promise<Run> {
    const id = await freezeLarge();
    stage().mode = 'lazy';
    return await stage().thaw(id, 2);
  }

  const engine = () => processesWith('engine/main.ts');
  /** What keeps the descriptors, and what does the work. */
  const filler = () => processesWith('bin/fill-memory', 'lazy-pages.socket');

  test.each([
    ['the engine', engine],
    ['what keeps the descriptors', async () => (await filler()).slice(0, 1)],
    ['what fills', async () => (await filler()).slice(1)],
  ])('the death of %s ends the run as lost', async (_, find) => {
    const run = await thawLazily();
    const victims = await find();
    expect(victims).not.toEqual([]);
    for (const pid of victims) process.kill(pid, 'SIGKILL');
    expect(await run.ended).toMatchObject({ kind: 'lost' });
    expect(await output(run)).not.toMatch(/CORRUPT|done/);
  });

  test('a freeze waits for all of it, and the checkpoint is whole', async () => {
    const run = await thawLazily();
    expect(await filler()).toHaveLength(2);
    const steps = new Set<string>();
    const onProgress = ({ step }: { step: string }) => steps.add(step);
    const { checkpoint } = await run.freeze({ place: stage().place, epoch: 2, afterwards: 'stop', onProgress });
    expect(steps).toContain('filling');
    await run[Symbol.asyncDispose]();
    stage().mode = 'eager';
    const again = await stage().thaw(checkpoint.id, 3);
    expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(again)).toContain('done');
  });

  test('a program may fork as often as it likes, also while the store does not answer', async () => {
    const run = await stage().start(['perl', '-e', FORKS]);
    await untilLines(run, 1);
    stage().mode = 'lazy';
    const moved = await stage().move(run, 1);
    await writeFile(join(moved.workspace, 'on'), '');
    await untilLines(moved, 2);
    for (const pid of await engine()) process.kill(pid, 'SIGSTOP');
    await untilLines(moved, 3);
    for (const pid of await filler()) expect(readdirSync(`/proc/${pid}/fd`).length).toBeLessThan(200);
    for (const pid of await engine()) process.kill(pid, 'SIGCONT');
    expect(await moved.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(moved)).toBe('started\nwarm\nended\n');
  });

  test('content that does not verify ends the run as lost, or the thaw before it, and says so', async () => {
    const id = await freezeLarge();
    const packs = join(stage().place.storeUrl.slice('file://'.length), stage().place.prefix, 'packs');
    const last = join(packs, readdirSync(packs).sort().at(-2) ?? '');
    const bytes = await readFile(last);
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(last, bytes);
    stage().mode = 'lazy';
    // CRIU may be through before that content is read, or not.
    const [end, log] = await stage()
      .thaw(id, 2)
      .then(
        async (run) => [await run.ended, await output(run)] as const,
        (error: Error) => [{ kind: 'lost', reason: error.message }, ''] as const,
      );
    expect(end).toMatchObject({ kind: 'lost', reason: expect.stringContaining('corrupt') });
    expect(log).not.toMatch(/CORRUPT|done/);
  });
});

describe('a lazy thaw that fails before its program runs', () => {
  async function temporary(): Promise<string> {
    const directory = await mkdtemp(join(dirname(defaultToolbox()), 'lazy-'));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    return directory;
  }

  /** Freezes it, and would thaw it lazily. */
  async function freeze(on: Stage, command: string): Promise<string> {
    const run = await on.start([command, '16', '100000'], withPrograms('memory'));
    await untilLines(run, 2);
    const { checkpoint } = await run.freeze({ place: on.place, epoch: 1, afterwards: 'stop' });
    on.mode = 'lazy';
    return checkpoint.id;
  }

  test('tells that CRIU refuses the checkpoint, whoever notices it first', async () => {
    const directory = await temporary();
    const access = { ...LEAST_ACCESS, readablePaths: [directory] };
    const open = (stateDirectory: string) =>
      openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox(), access });
    await using reading = await Stage.make(open);
    const executable = join(directory, 'memory');
    await copyFile(await program('memory'), executable);
    const id = await freeze(reading, executable);
    await rm(executable);
    await expect(reading.thaw(id, 2)).rejects.toMatchObject({
      code: 'restoreFailed',
      message: expect.stringContaining(executable.slice(1)),
    });
  });

  test('holds nothing against the checkpoint where this machine cannot fill memory lazily', async () => {
    const toolboxDirectory = join(await temporary(), 'toolbox');
    await cp(defaultToolbox(), toolboxDirectory, { recursive: true });
    await rm(join(toolboxDirectory, 'bin/fill-memory'));
    const open = (stateDirectory: string) => openProcessRuntime({ stateDirectory, toolboxDirectory });
    await using lacking = await Stage.make(open);
    const id = await freeze(lacking, './memory');
    await expect(lacking.thaw(id, 2)).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringContaining('What fills the memory of the job did not start'),
    });
    lacking.mode = 'eager';
    await untilLines(await lacking.thaw(id, 3), 4);
  });
});
