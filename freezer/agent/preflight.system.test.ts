/** Programs that have what CRIU cannot dump, and are looked at from outside as the agent looks at a job. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { execa } from 'execa';
import { describe, expect, onTestFinished, test } from 'vitest';
import { program } from '../../test/support/programs.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { refuseUndumpable, unknownProtocol } from './preflight.ts';

const REST = '$| = 1; print "ready\\n"; sleep 1000';
const perl = (script: string) => ['perl', '-MSocket', '-e', `${script}; ${REST}`];

/** Starts a command in a group of its own, and looks at it once it has said something. */
async function lookAt(command: readonly string[]): Promise<void> {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const ended = once(child, 'exit');
  onTestFinished(async () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    await ended;
  });
  await Promise.race([once(child.stdout, 'data'), ended]);
  expect(child.exitCode).toBeNull();
  await refuseUndumpable(child.pid ?? 0, defaultToolbox());
}

const named = (word: string) =>
  expect.objectContaining({ code: 'cannotFreeze', message: expect.stringContaining(word) });

describe('is refused', () => {
  test.each([
    ['Multipath TCP', 'socket my $s, AF_INET, SOCK_STREAM, 262 or die $!'],
    ['(AF_VSOCK)', 'socket my $s, 40, SOCK_STREAM, 0 or die $!'],
    ['an open device', 'open my $file, "<", "/dev/fuse" or die $!'],
    // perf_event_open(2) with a software event, its own.
    [
      'a perf event',
      'my $a = pack("LLQQQQ", 1, 112, 0, 0, 0, 0) . "\\0" x 72; syscall(298, $a, 0, -1, -1, 0) >= 0 or die $!',
    ],
    // landlock_create_ruleset(2) with one access right
    ['landlock', 'my $a = pack("Q", 1); syscall(444, $a, 8, 0) >= 0 or die $!'],
    // unshare(2) with CLONE_NEWUTS, in a child
    [
      'namespaces of its own (uts)',
      '$| = 1; if (!fork) { syscall(272, 0x04000000) == 0 or die $!; print "child\\n"; sleep 1000 } wait',
    ],
    // PTRACE_SEIZE of a child
    [
      'a debugger',
      'my $child = fork; if (!$child) { sleep 1000; exit } syscall(101, 0x4206, $child, 0, 0) == 0 or die $!',
    ],
  ])('%s', async (word, script) => {
    await expect(lookAt(perl(script))).rejects.toEqual(named(word));
  });

  test('secret memory', async () => {
    await expect(lookAt([await program('undumpable')])).rejects.toEqual(named('secret memory'));
  });
});

describe('is not refused', () => {
  test.each([
    [
      'sockets of the common kinds',
      'socket $s[$_->[3]], $_->[0], $_->[1], $_->[2] or die $! for [2, 1, 0, 0], [10, 1, 0, 1], [2, 2, 0, 2], [10, 2, 17, 3], [1, 1, 0, 4], [1, 5, 0, 5], [16, 3, 0, 6], [17, 3, 0, 7], [2, 3, 1, 8]',
    ],
    [
      'devices that are everywhere',
      'open $f[$_], "+<", "/dev/" . (qw(null zero full urandom ptmx))[$_] or die $! for 0 .. 4',
    ],
    // eventfd2, epoll_create1, timerfd_create, inotify_init1, signalfd4
    [
      'what the kernel notifies programs by',
      'syscall(290, 0, 0) >= 0 && syscall(291, 0) >= 0 && syscall(283, 1, 0) >= 0 && syscall(294, 0) >= 0 or die $!; my $m = "\\0" x 8; syscall(289, -1, $m, 8, 0) >= 0 or die $!',
    ],
    [
      'a deleted file',
      'my $name = "/tmp/floe-deleted-$$"; open my $f, "+>", $name or die $!; print $f "text"; unlink $name',
    ],
    ['shared memory without a name', 'my $at = syscall(9, 0, 4096, 3, 0x21, -1, 0)'],
  ])('%s', async (_, script) => {
    await lookAt(perl(script));
  });
});

test('a process that has ended is not looked at', async () => {
  const child = execa('true');
  await child;
  await expect(stat(`/proc/${child.pid}`)).rejects.toMatchObject({ code: 'ENOENT' });
  await refuseUndumpable(child.pid ?? 0, defaultToolbox());
});

test("the kernel's names of protocols are read from getfattr's answer", () => {
  const line = (descriptor: number, name: string) =>
    `# file: /proc/7/fd/${descriptor}\nsystem.sockprotoname="${name}"\n\n`;
  expect(unknownProtocol(line(3, 'TCP') + line(4, 'UDPLITEv6') + line(5, 'UNIX-STREAM'))).toBeNull();
  expect(unknownProtocol(line(3, 'TCP') + line(14, 'SCTPv6'))).toEqual({ descriptor: '14', protocol: 'SCTPv6' });
});
