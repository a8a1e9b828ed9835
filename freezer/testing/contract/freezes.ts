/** Freezes after which the program goes on: periodic ones, and those that fail. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, onTestFinished, test } from 'vitest';
import { processTree, stillRunning } from '../../../test/support/processes.ts';
import { keepSpareEngine } from '../../engine/spare.ts';
import { type Kind, onStage, output, untilLines, withPrograms } from '../stage.ts';

/** Needs a shell and perl. */
export function goesOnAfterFreezes(kind: Kind): void {
  const stage = onStage(kind);

  describe('a periodic checkpoint', () => {
    test.each(['threads', 'tree'])(
      '%s: lets the program run on, and can be gone back to with memory, files and log as they were',
      async (mode) => {
        const run = await stage().start(['./memory', '8', '400', mode, '--pace-ms', '10'], withPrograms('memory'));
        await untilLines(run, 5);
        const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'continue' });
        const linesThen = (await readFile(run.logs.stdout))
          .subarray(0, checkpoint.logSizes.stdout)
          .toString()
          .split('\n').length;
        await untilLines(run, linesThen + 10);
        await run.kill();
        const again = await stage().thaw(checkpoint.id, 2);
        expect(again.logStart).toEqual(checkpoint.logSizes);
        expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
        const steps = (await output(again)).match(/^step \d+/gm);
        expect(steps).toEqual(Array.from({ length: 400 }, (_, at) => `step ${at + 1}`));
      },
    );

    test('is not heard of by a parent that listens for its children', async () => {
      const run = await stage().start(['perl', '-e', HEAR_OF_CHILDREN]);
      await untilLines(run, 1);
      await run.freeze({ place: stage().place, epoch: 1, afterwards: 'continue' });
      await writeFile(join(run.workspace, 'go'), '');
      await run.ended;
      expect(await output(run)).toBe('ready\n0\n');
    });

    test('keeps a server that listens; its connections end, and it is told', async () => {
      let run = await stage().start(['perl', '-MIO::Socket::INET', '-e', SERVE]);
      await untilLines(run, 1);
      for (const epoch of [1, 2, 3]) run = await stage().move(run, epoch);
      await writeFile(join(run.workspace, 'go'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('ready\nan old connection is closed\na new connection works\n');
    });

    test('after a move, processes that the program has started since move with it, too', async () => {
      let run = await stage().start(['perl', '-e', START_LATER]);
      await untilLines(run, 1);
      stage().mode = 'eager';
      run = await stage().move(run, 1);
      await writeFile(join(run.workspace, 'go'), '');
      await untilLines(run, 2);
      // There are more processes of Floe's own in a container where a job is thawed lazily.
      stage().mode = 'lazy';
      run = await stage().move(run, 2);
      stage().mode = 'eager';
      run = await stage().move(run, 3);
      await writeFile(join(run.workspace, 'on'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('ready\nstarted\nended 40\n');
    });

    test('of a program that kills its helpers as soon as it runs again is as good as any other', async () => {
      let run = await stage().start(['perl', '-MErrno', '-MIO::Socket::INET', '-e', KILL_ALL]);
      await untilLines(run, 1);
      run = await stage().move(run, 1);
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('ready\nkilled 40\n');
    });

    test('leaves nothing of its own in the workspace, even for a file that lost the name it was opened by', async () => {
      const script =
        'exec 5<>a; echo text >&5; ln a b; rm a; echo ready; while [ ! -e go ]; do sleep 0.02; done; cat b; ls';
      const run = await stage().start(['sh', '-c', script]);
      await untilLines(run, 1);
      const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'continue' });
      expect(await readdir(run.workspace)).toEqual(['b']);
      await run.kill();
      const again = await stage().thaw(checkpoint.id, 2);
      await writeFile(join(again.workspace, 'go'), '');
      expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(again)).toBe('ready\ntext\nb\ngo\n');
    });
  });

  describe('a freeze that fails lets the program run on and leaves the checkpoints before it', () => {
    // The smaller job fits into the engine's buffers, the larger one meets the refusal in the middle of its dump.
    test.each([16, 320])('the store is full, %i MiB of memory', async (sizeMib) => {
      const disk = join(stage().directory, 'disk');
      await mkdir(disk);
      await execa('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk]);
      try {
        const command = ['./memory', String(sizeMib), '150', 'random', '--pace-ms', '30'];
        const run = await stage().start(command, withPrograms('memory'));
        await untilLines(run, 5);
        await run.freeze({ place: stage().place, epoch: 1, afterwards: 'continue' });
        const full = { storeUrl: `file://${disk}`, prefix: stage().place.prefix };
        await expect(run.freeze({ place: full, epoch: 1, afterwards: 'stop' })).rejects.toMatchObject({
          code: 'storeFailed',
        });
        expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
        expect(await stage().checkpoints()).toEqual(['00000001-000001']);
      } finally {
        await execa('umount', [disk]);
      }
    });

    test('it is cancelled in the middle of the dump', async () => {
      const run = await stage().start(['./memory', '256', '150', 'random', '--pace-ms', '30'], withPrograms('memory'));
      await untilLines(run, 5);
      const cancel = new AbortController();
      const onProgress = ({ step }: { step: string }) => step === 'dumping' && cancel.abort();
      const freeze = run.freeze({
        place: stage().place,
        epoch: 1,
        afterwards: 'stop',
        signal: cancel.signal,
        onProgress,
      });
      await expect(freeze).rejects.toMatchObject({ code: 'cancelled' });
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await stage().checkpoints()).toEqual([]);
    });

    test('the engine stands still: it is ended, and the next freeze has another', async () => {
      let run = await stage().start(['./memory', '64', '150', 'random', '--pace-ms', '30'], withPrograms('memory'));
      await untilLines(run, 5);
      await keepSpareEngine();
      const engines = (await processTree(process.pid)).filter(({ command }) => command.some(isEngine));
      expect(engines).toHaveLength(1);
      onTestFinished(async () => {
        for (const { pid } of await stillRunning(engines)) process.kill(pid, 'SIGKILL');
      });
      const freeze = run.freeze({
        place: stage().place,
        epoch: 1,
        afterwards: 'stop',
        stallTimeoutMs: 3000,
        onProgress: ({ step }) => {
          if (step === 'dumping') for (const { pid } of engines) process.kill(pid, 'SIGSTOP');
        },
      });
      await expect(freeze).rejects.toMatchObject({ code: 'failed', message: expect.stringContaining('no progress') });
      expect(await stillRunning(engines)).toEqual([]);
      run = await stage().move(run, 1);
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    });

    test('the job holds what CRIU cannot dump: it is named, and works once let go of', async () => {
      const run = await stage().start(['./undumpable'], withPrograms('undumpable'));
      await untilLines(run, 1);
      const freeze = run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
      await expect(freeze).rejects.toMatchObject({
        code: 'cannotFreeze',
        message: expect.stringContaining('secret memory'),
      });
      run.signal(constants.signals.SIGUSR1);
      await untilLines(run, 2);
      await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
      expect(await stage().checkpoints()).toHaveLength(1);
    });

    test('the job talks to a process outside: it is named', async () => {
      const outside = execa('perl', ['-MIO::Socket::UNIX', '-e', LISTEN, join(stage().directory, 'socket')], {
        reject: false,
      });
      onTestFinished(() => void outside.kill());
      await expect.poll(() => stat(join(stage().directory, 'socket')).then(Boolean, () => false)).toBe(true);
      const run = await stage().start(['perl', '-MIO::Socket::UNIX', '-e', TALK], async (workspace) => {
        await execa('ln', [join(stage().directory, 'socket'), join(workspace, 'socket')]);
      });
      await untilLines(run, 1);
      const freeze = run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
      await expect(freeze).rejects.toMatchObject({
        code: 'cannotFreeze',
        message: expect.stringContaining('UNIX socket'),
      });
      await writeFile(join(run.workspace, 'go'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    });

    test('the program has ended', async () => {
      const run = await stage().start(['true']);
      await run.ended;
      await expect(run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' })).rejects.toMatchObject({
        code: 'ended',
      });
    });
  });
}

function isEngine(word: string): boolean {
  return word.includes('/freezer/engine/');
}

// Perl, because every Debian system has it.
const LISTEN = 'my $s = IO::Socket::UNIX->new(Local => shift, Listen => 1); my $c = $s->accept; $s->accept';
const TALK =
  'my $s = IO::Socket::UNIX->new(Peer => "socket") or die; $| = 1; print "ready\\n"; select undef, undef, undef, 0.02 until -e "go"';
const HEAR_OF_CHILDREN =
  '$| = 1; $SIG{CHLD} = sub { $heard++ }; fork || exec "sleep", 1000; print "ready\\n"; select undef, undef, undef, 0.02 until -e "go"; print $heard + 0, "\\n"';
/** Perl: the ids of 40 processes that it starts, and that do nothing. */
export const FORK_HELPERS = 'map { my $pid = fork; if (!$pid) { sleep 1000 while 1 } $pid } 1 .. 40';
// It waits without starting anything, so that what it starts then has the lowest process ids that there are.
const START_LATER = `$| = 1; my $wait = sub { select undef, undef, undef, 0.02 until -e $_[0] };
  print "ready\\n"; $wait->("go"); my @started = ${FORK_HELPERS};
  print "started\\n"; $wait->("on"); print "ended ", scalar(grep { kill(KILL => $_) && waitpid($_, 0) == $_ } @started), "\\n"`;
/** A connection ends by a move, so it notices that at once. */
const KILL_ALL = `$| = 1; my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", ReuseAddr => 1) or die $@;
  my $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $server->sockport) or die $@;
  my $accepted = $server->accept; $server->close; $client->blocking(0);
  my @helpers = ${FORK_HELPERS};
  print "ready\\n"; 1 until defined sysread($client, my $byte, 1) || !$!{EAGAIN};
  kill KILL => @helpers; print "killed ", scalar(grep { waitpid($_, 0) == $_ && $? == 9 } @helpers), "\\n"`;
/** One connection is accepted before the freeze, and one is still waiting for that. */
const SERVE = `$| = 1; my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", ReuseAddr => 1) or die $@;
  my $call = sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $server->sockport) };
  my $client = $call->(); my $accepted = $server->accept; my $waiting = $call->();
  print "ready\\n"; select undef, undef, undef, 0.02 until -e "go";
  print "an old connection is ", sysread($client, my $byte, 1) ? "open" : "closed", "\\n";
  print "a new connection ", $call->() && $server->accept ? "works" : "fails", "\\n"`;
