/** Real programs, real CRIU, a real store: what a user would lose if a move were not exact. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore } from '../../store/index.ts';
import { type ProgramName, program } from '../../test/support/programs.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { listCheckpoints } from '../checkpoint/catalogue.ts';
import type { CheckpointPlace, Program, RenewLease, Run, Runtime } from '../runtime.ts';
import { openProcessRuntime } from './runtime.ts';

const LEASE_MS = 60_000;

let directory: string;
let place: CheckpointPlace;
const runs: Run[] = [];
/** Renews the lease of the container that was made last. */
let renewNewest: RenewLease;
const attachLease = (renewLease: RenewLease) => {
  renewNewest = renewLease;
  renewLease(LEASE_MS);
};
/** Processes outside that a test started. */
const others: { kill(): boolean }[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-runtime-'));
  place = { storeUrl: `file://${join(directory, 'store')}`, prefix: 'jobs/a/' };
});

afterEach(async () => {
  for (const process of others.splice(0)) process.kill();
  for (const run of runs.splice(0)) await run[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** A machine of its own: nothing of another's state folder is seen. */
function machine(name: string): Runtime {
  return openProcessRuntime({ stateDirectory: join(directory, name), toolboxDirectory: defaultToolbox() });
}

async function start(command: string[], prepareWorkspace?: (directory: string) => Promise<void>): Promise<Run> {
  const options = { jobId: 'a', epoch: 1, program: asProgram(command), attachLease };
  const run = await machine('m0').start(prepareWorkspace ? { ...options, prepareWorkspace } : options);
  runs.push(run);
  return run;
}

/** Freezes a run and thaws it on the machine after, `epoch` counting moves. */
async function move(run: Run, epoch: number): Promise<Run> {
  const { checkpoint } = await run.freeze({ place, epoch, afterwards: 'stop' });
  await run[Symbol.asyncDispose]();
  return thaw(checkpoint.id, epoch + 1);
}

async function thaw(checkpointId: string, epoch: number): Promise<Run> {
  const thawed = await machine(`m${epoch}`).thaw({
    jobId: 'a',
    epoch,
    program: asProgram(['unused']),
    attachLease,
    place,
    checkpointId,
  });
  runs.push(thawed);
  return thawed;
}

function asProgram(command: string[]): Program {
  return { command, env: {} };
}

const output = (run: Run) => readFile(run.logs.stdout, 'utf8');

/** Resolves when the log has at least this many lines, or the program has ended. */
async function untilLines(run: Run, count: number): Promise<void> {
  let hasEnded = false;
  void run.ended.then(() => (hasEnded = true));
  await expect
    .poll(async () => hasEnded || (await output(run)).split('\n').length > count, { timeout: 30_000, interval: 20 })
    .toBe(true);
}

/** Puts a compiled program into the workspace, so that it moves with the job. */
function withProgram(name: ProgramName): (directory: string) => Promise<void> {
  return async (workspace) => {
    await writeFile(join(workspace, name), await readFile(await program(name)));
    await chmod(join(workspace, name), 0o755);
  };
}

async function checkpoints(): Promise<string[]> {
  await using store = await openStore(place.storeUrl);
  return (await listCheckpoints(store, place.prefix)).map(({ id }) => id);
}

/** The one object under the job's prefix whose key begins with this. */
async function storedFile(kind: 'manifests' | 'index' | 'packs'): Promise<string> {
  const folder = join(directory, 'store', place.prefix, kind);
  const [name] = await readdir(folder);
  return join(folder, name ?? 'none');
}

describe('three moves of the self-verifying job', () => {
  test.each(['plain', 'random', 'threads', 'tree', 'shared'])(
    '%s: memory, files and log are those of an undisturbed run',
    async (mode) => {
      const undisturbed = await start(['./memory', '16', '400', mode, '--pace-ms', '1'], withProgram('memory'));
      expect(await undisturbed.ended).toEqual({ kind: 'exited', code: 0 });
      const expected = await output(undisturbed);

      let run = await start(['./memory', '16', '400', mode, '--pace-ms', '10'], withProgram('memory'));
      for (const epoch of [1, 2, 3]) {
        await untilLines(run, 8 * epoch);
        run = await move(run, epoch);
      }
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe(expected);
    },
  );
});

describe('how a program ends survives moves', () => {
  test.each([
    [['--exit', '42'], { kind: 'exited', code: 42 }],
    [['--die', '11'], { kind: 'killed', signal: constants.signals.SIGSEGV }],
  ] as const)('%s', async (option, end) => {
    let run = await start(['./memory', '1', '400', '--pace-ms', '10', ...option], withProgram('memory'));
    await untilLines(run, 5);
    run = await move(run, 1);
    run = await move(run, 2);
    expect(await run.ended).toEqual(end);
  });

  test('a job that kills its whole process group, as shell scripts do, is not lost with it', async () => {
    const run = await start(['sh', '-c', 'sleep 1000 & kill -TERM 0; wait']);
    expect(await run.ended).toEqual({ kind: 'killed', signal: constants.signals.SIGTERM });
  });

  test('a program that cannot be executed ends with 127, and the log says why', async () => {
    const run = await start(['./no-such-program']);
    expect(await run.ended).toEqual({ kind: 'exited', code: 127 });
    expect(await readFile(run.logs.stderr, 'utf8')).toContain('./no-such-program: No such file or directory');
  });
});

describe('files', () => {
  test('those that the job made, changed and deleted, its links, modes and temporary files move with it', async () => {
    const script = `
      set -e
      echo old > kept; echo old > changed; echo old > deleted; mkdir -p deep/empty; ln -s kept link; ln kept second
      chmod 640 kept; truncate -s 1M sparse; echo end >> sparse; echo t > /tmp/t; echo v > /var/tmp/v; echo s > /dev/shm/s
      echo ready; while [ ! -e go ]; do sleep 0.02; done
      echo new > changed; rm deleted; echo more >> kept; echo ready; while [ ! -e on ]; do sleep 0.02; done
      cat kept second changed link /tmp/t /var/tmp/v /dev/shm/s; stat -c '%a %h' kept; ls; ls deep; tail -c 4 sparse; stat -c %s sparse`;
    let run = await start(['sh', '-c', script]);
    await untilLines(run, 1);
    run = await move(run, 1);
    await writeFile(join(run.workspace, 'go'), '');
    await untilLines(run, 2);
    run = await move(run, 2);
    await writeFile(join(run.workspace, 'on'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    const kept = ['old', 'more'];
    const names = ['changed', 'deep', 'go', 'kept', 'link', 'on', 'second', 'sparse'];
    expect((await output(run)).trim().split('\n')).toEqual([
      ...[
        'ready',
        'ready',
        ...kept,
        ...kept,
        'new',
        ...kept,
        't',
        'v',
        's',
        '640 2',
        ...names,
        'empty',
        'end',
        '1048580',
      ],
    ]);
    expect((await stat(join(run.workspace, 'sparse'))).blocks * 512).toBeLessThan(100_000);
  });

  test('a write to the machine itself is refused, not left behind', async () => {
    const run = await start(['sh', '-c', 'touch /etc/floe-test /opt/floe-test /floe-test']);
    expect(await run.ended).toEqual({ kind: 'exited', code: 1 });
    expect((await readFile(run.logs.stderr, 'utf8')).match(/Read-only file system/g)).toHaveLength(3);
  });

  test('a file that was deleted while open is still there for the program', async () => {
    let run = await start([
      'sh',
      '-c',
      'exec 5<>lost; echo content >&5; rm lost; echo ready; while [ ! -e go ]; do sleep 0.02; done; cat /proc/self/fd/5; ls',
    ]);
    await untilLines(run, 1);
    run = await move(run, 1);
    run = await move(run, 2);
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe('ready\ncontent\ngo\n');
  });
});

describe('a periodic checkpoint', () => {
  test.each(['threads', 'tree'])(
    '%s: lets the program run on, and can be gone back to with memory, files and log as they were',
    async (mode) => {
      const run = await start(['./memory', '8', '400', mode, '--pace-ms', '10'], withProgram('memory'));
      await untilLines(run, 5);
      const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'continue' });
      const linesThen = (await readFile(run.logs.stdout))
        .subarray(0, checkpoint.logSizes.stdout)
        .toString()
        .split('\n').length;
      await untilLines(run, linesThen + 10);
      await run.kill();
      const again = await thaw(checkpoint.id, 2);
      expect(again.logStart).toEqual(checkpoint.logSizes);
      expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
      const steps = (await output(again)).match(/^step \d+/gm);
      expect(steps).toEqual(Array.from({ length: 400 }, (_, at) => `step ${at + 1}`));
    },
  );

  test('is not heard of by a parent that listens for its children', async () => {
    const run = await start(['perl', '-e', HEAR_OF_CHILDREN]);
    await untilLines(run, 1);
    await run.freeze({ place, epoch: 1, afterwards: 'continue' });
    await writeFile(join(run.workspace, 'go'), '');
    await run.ended;
    expect(await output(run)).toBe('ready\n0\n');
  });

  test('leaves nothing of its own in the workspace, even for a file that lost the name it was opened by', async () => {
    const script =
      'exec 5<>a; echo text >&5; ln a b; rm a; echo ready; while [ ! -e go ]; do sleep 0.02; done; cat b; ls';
    const run = await start(['sh', '-c', script]);
    await untilLines(run, 1);
    const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'continue' });
    expect(await readdir(run.workspace)).toEqual(['b']);
    await run.kill();
    const again = await thaw(checkpoint.id, 2);
    await writeFile(join(again.workspace, 'go'), '');
    expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(again)).toBe('ready\ntext\nb\ngo\n');
  });
});

describe('a freeze that fails lets the program run on and leaves the checkpoints before it', () => {
  // The smaller job fits into the engine's buffers, the larger one meets the refusal in the middle of its dump.
  test.each([16, 320])('the store is full, %i MiB of memory', async (sizeMib) => {
    const disk = join(directory, 'disk');
    await mkdir(disk);
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk]);
    try {
      const command = ['./memory', String(sizeMib), '150', 'random', '--pace-ms', '30'];
      const run = await start(command, withProgram('memory'));
      await untilLines(run, 5);
      await run.freeze({ place, epoch: 1, afterwards: 'continue' });
      const full = { storeUrl: `file://${disk}`, prefix: place.prefix };
      await expect(run.freeze({ place: full, epoch: 1, afterwards: 'stop' })).rejects.toMatchObject({
        code: 'storeFailed',
      });
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await checkpoints()).toEqual(['00000001-000001']);
    } finally {
      await execa('umount', [disk]);
    }
  });

  test('it is cancelled in the middle of the dump', async () => {
    const run = await start(['./memory', '256', '150', 'random', '--pace-ms', '30'], withProgram('memory'));
    await untilLines(run, 5);
    const cancel = new AbortController();
    const onProgress = ({ step }: { step: string }) => step === 'dumping' && cancel.abort();
    const freeze = run.freeze({ place, epoch: 1, afterwards: 'stop', signal: cancel.signal, onProgress });
    await expect(freeze).rejects.toMatchObject({ code: 'cancelled' });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await checkpoints()).toEqual([]);
  });

  test('the job holds what CRIU cannot dump: it is named, and works once let go of', async () => {
    const run = await start(['./undumpable'], withProgram('undumpable'));
    await untilLines(run, 1);
    const freeze = run.freeze({ place, epoch: 1, afterwards: 'stop' });
    await expect(freeze).rejects.toMatchObject({
      code: 'cannotFreeze',
      message: expect.stringContaining('a userfaultfd'),
    });
    run.signal(constants.signals.SIGUSR1);
    await untilLines(run, 2);
    await run.freeze({ place, epoch: 1, afterwards: 'stop' });
    expect(await checkpoints()).toHaveLength(1);
  });

  test('the job talks to a process outside: it is named', async () => {
    const outside = execa('perl', ['-MIO::Socket::UNIX', '-e', LISTEN, join(directory, 'socket')], { reject: false });
    others.push(outside);
    await expect.poll(() => stat(join(directory, 'socket')).then(Boolean, () => false)).toBe(true);
    const run = await start(['perl', '-MIO::Socket::UNIX', '-e', TALK], async (workspace) => {
      await execa('ln', [join(directory, 'socket'), join(workspace, 'socket')]);
    });
    await untilLines(run, 1);
    const freeze = run.freeze({ place, epoch: 1, afterwards: 'stop' });
    await expect(freeze).rejects.toMatchObject({
      code: 'cannotFreeze',
      message: expect.stringContaining('UNIX socket'),
    });
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  });

  test('the program has ended', async () => {
    const run = await start(['true']);
    await run.ended;
    await expect(run.freeze({ place, epoch: 1, afterwards: 'stop' })).rejects.toMatchObject({ code: 'ended' });
  });
});

// Perl, because every Debian system has it.
const LISTEN = 'my $s = IO::Socket::UNIX->new(Local => shift, Listen => 1); my $c = $s->accept; $s->accept';
const TALK =
  'my $s = IO::Socket::UNIX->new(Peer => "socket") or die; $| = 1; print "ready\\n"; select undef, undef, undef, 0.02 until -e "go"';
const HEAR_OF_CHILDREN =
  '$| = 1; $SIG{CHLD} = sub { $heard++ }; fork || exec "sleep", 1000; print "ready\\n"; select undef, undef, undef, 0.02 until -e "go"; print $heard + 0, "\\n"';

describe('a checkpoint that is not what was written is refused, and nothing runs', () => {
  test.each([
    ['a flipped bit in a pack', 'packs', async (path: string) => flipBit(path, 1000)],
    ['a pack that ends early', 'packs', async (path: string) => truncate(path, 1000)],
    ['a pack that is gone', 'packs', async (path: string) => rm(path)],
    ['a flipped bit in the index', 'index', async (path: string) => flipBit(path, 100)],
    ['a manifest that ends early', 'manifests', async (path: string) => truncate(path, 100)],
  ] as const)('%s', async (_, kind, damage) => {
    const run = await start(['./memory', '4', '1000'], withProgram('memory'));
    await untilLines(run, 5);
    const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'stop' });
    await damage(await storedFile(kind));
    await expect(thaw(checkpoint.id, 2)).rejects.toMatchObject({ code: 'corrupt' });
    expect(await readdir(join(directory, 'm2', 'runs'))).toEqual([]);
  });

  test('a thaw that is cancelled while CRIU restores leaves nothing running', async () => {
    const run = await start(['./memory', '64', '100000'], withProgram('memory'));
    await untilLines(run, 5);
    const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'stop' });
    const cancel = new AbortController();
    const onProgress = ({ step }: { step: string }) => step === 'restoring' && cancel.abort();
    const options = { jobId: 'a', epoch: 2, program: asProgram(['unused']), attachLease, place };
    const thawing = machine('m2').thaw({ ...options, checkpointId: checkpoint.id, signal: cancel.signal, onProgress });
    await expect(thawing).rejects.toMatchObject({ code: 'cancelled' });
    expect(await readdir(join(directory, 'm2', 'runs'))).toEqual([]);
  });

  test('a checkpoint that does not exist', async () => {
    await expect(thaw('00000001-000001', 2)).rejects.toMatchObject({ code: 'notFound' });
  });

  test('a checkpoint of a CPU with features that this one lacks', async () => {
    const run = await start(['./memory', '4', '1000'], withProgram('memory'));
    const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'stop' });
    const path = await storedFile('manifests');
    const manifest = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...manifest, cpuFeatures: ['avx2048'] }));
    await expect(thaw(checkpoint.id, 2)).rejects.toMatchObject({
      code: 'cpuMismatch',
      message: expect.stringContaining('avx2048'),
    });
  });
});

async function flipBit(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  await writeFile(path, bytes);
}

describe('the job in its container', () => {
  test('has no capability, can gain none, and no io_uring, before and after a move', async () => {
    const script =
      'while :; do ./capabilities; ./io_uring; echo --; while [ ! -e go ]; do sleep 0.02; done; rm go; done';
    let run = await start(['sh', '-c', script], async (workspace) => {
      await withProgram('capabilities')(workspace);
      await withProgram('io_uring')(workspace);
    });
    await untilLines(run, 9);
    run = await move(run, 1);
    await writeFile(join(run.workspace, 'go'), '');
    await untilLines(run, 18);
    const [before, after] = (await output(run)).split('--\n');
    expect(before?.split('\n').map((line) => line.replace(/\s+/, ' '))).toEqual([
      ...['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => `${name}: 0000000000000000`),
      ...['NoNewPrivs: 1', 'Seccomp: 2', 'io_uring: Function not implemented', ''],
    ]);
    expect(after).toBe(before);
  });

  test('dies when its lease is not renewed', async () => {
    const run = await start(['sleep', '1000']);
    renewNewest(100);
    expect(await run.ended).toMatchObject({ kind: 'lost', reason: expect.stringContaining('lease') });
  });

  test('is gone with everything in it after a kill', async () => {
    const run = await start(['sh', '-c', 'setsid sleep 54321.1 & sleep 54321.1 & echo ready; wait']);
    await untilLines(run, 1);
    await run.kill();
    expect((await execa('pgrep', ['-f', 'sleep 54321.1'], { reject: false })).stdout).toBe('');
  });

  test('an image is refused by this runtime', async () => {
    const withImage = { command: ['true'], env: {}, image: 'debian' };
    const refused = machine('m0').start({ jobId: 'a', epoch: 1, program: withImage, attachLease });
    await expect(refused).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('debian') });
  });
});

describe('check', () => {
  test('tells what is there', async () => {
    const { criuVersion, cpuFeatures } = await machine('m0').check();
    expect(criuVersion).toMatch(/^\d+\.\d+\.\d+$/);
    expect(cpuFeatures.length).toBeGreaterThan(0);
  });

  test('names what is missing', async () => {
    const runtime = openProcessRuntime({ stateDirectory: directory, toolboxDirectory: join(directory, 'nothing') });
    await expect(runtime.check()).rejects.toMatchObject({
      code: 'cannotRun',
      remedy: expect.stringContaining('scripts/setup/main'),
    });
  });

  test('removes what a dead worker left, and nothing else', async () => {
    const mine = await start(['sleep', '1000']);
    const orphan = join(directory, 'm0', 'runs', `${process.pid}.1-gone`);
    await mkdir(orphan);
    await machine('m0').check();
    await expect(stat(orphan)).rejects.toMatchObject({ code: 'ENOENT' });
    expect((await stat(mine.workspace)).isDirectory()).toBe(true);
  });
});
