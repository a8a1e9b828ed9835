/** What a job in a container cannot do and cannot see: each claim is tried from inside, before and after a move. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { program } from '../../test/support/programs.ts';
import { onStage, output, untilLines, withPrograms } from '../testing/stage.ts';
import { debian } from './testing/kinds.ts';

/** Every line is a claim and what came of it. Perl, because Debian's base image has it. */
const LOOK_AROUND = String.raw`
use strict; use Errno; use Socket;
$| = 1;
sub said { my ($what, $ok) = @_; printf "%s: %s\n", $what, $ok ? "yes" : ($!{EPERM} ? "EPERM" : $!{EACCES} ? "EACCES" : $!{EROFS} ? "EROFS" : $!{ENOSYS} ? "ENOSYS" : $!{EHOSTUNREACH} ? "EHOSTUNREACH" : "$!"); }
sub reach { my ($address) = @_;
  socket(my $s, PF_INET, SOCK_STREAM, 0) or die; local $SIG{ALRM} = sub { die "timeout" }; alarm 3;
  said("connect $address", connect($s, pack_sockaddr_in(80, inet_aton($address)))); alarm 0; }
sub look {
  my ($none, $mnt, $tmpfs, $device, $space) = ("none", "/mnt", "tmpfs", "/tmp/device", "\0" x 120);
  open my $status, "<", "/proc/self/status" or die; /^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):\s*(\S+)/ and print "$1: $2\n" while <$status>;
  said("unshare user", syscall(272, 0x10000000) == 0);
  said("unshare mount", syscall(272, 0x00020000) == 0);
  said("mount", syscall(165, $none, $mnt, $tmpfs, 0, 0) == 0);
  said("io_uring_setup", syscall(425, 8, $space) >= 0);
  said("bpf", syscall(321, 0, 0, 0) >= 0);
  said("ptrace main process", syscall(101, 16, 1, 0, 0) == 0);
  said("environment of main process", open(my $e, "<", "/proc/1/environ"));
  said("write core_pattern", open(my $c, ">", "/proc/sys/kernel/core_pattern"));
  for my $place (qw(control images layer logs)) { said("list /floe/$place", opendir(my $d, "/floe/$place")); said("write /floe/$place", open(my $f, ">", "/floe/$place/x")); }
  said("write toolbox", open(my $t, ">", "/floe/toolbox/x"));
  said("write agent", open(my $a, ">", "/floe/freezer/x"));
  said("chown", chown(5, 5, "/workspace"));
  said("device", syscall(133, $device, 0020666, 0x101) == 0);
  reach($_) for "169.254.169.254", "169.254.170.2", "100.100.100.200";
  print "environment: ", join(" ", sort keys %ENV), "\n";
  print "--\n";
}
look(); select undef, undef, undef, 0.02 until -e "go"; look();
`;

const INTRUDER = join(import.meta.dirname, '../../test/programs/intruder.c');
const NOTHING = '0000000000000000';

describe('a job in a container', () => {
  const stage = onStage(debian);

  test('has no privilege, no credential and no way to the metadata endpoint', async () => {
    const secrets = { FLOE_REDIS_URL: 'redis://secret', AWS_SECRET_ACCESS_KEY: 'secret' };
    Object.assign(process.env, secrets);
    let run = await stage().start(['perl', '-e', LOOK_AROUND]);
    for (const name of Object.keys(secrets)) delete process.env[name];
    const claims = [
      ...['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => `${name}: ${NOTHING}`),
      ...['NoNewPrivs: 1', 'Seccomp: 2', 'unshare user: EPERM', 'unshare mount: EPERM', 'mount: EPERM'],
      ...['io_uring_setup: ENOSYS', 'bpf: EPERM', 'ptrace main process: EPERM', 'environment of main process: EACCES'],
      ...['write core_pattern: EROFS'],
      ...['control', 'images', 'layer', 'logs'].flatMap((place) => [
        `list /floe/${place}: EACCES`,
        `write /floe/${place}: EACCES`,
      ]),
      ...['write toolbox: EACCES', 'write agent: EACCES', 'chown: EPERM', 'device: EPERM'],
      ...['169.254.169.254', '169.254.170.2', '100.100.100.200'].map((address) => `connect ${address}: EHOSTUNREACH`),
      'environment: HOME PATH UV_USE_IO_URING',
      '--',
    ];
    await untilLines(run, claims.length);
    expect(await readFile(run.logs.stderr, 'utf8')).toBe('');
    expect((await output(run)).trim().split('\n')).toEqual(claims);
    run = await stage().move(run, 1);
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect((await output(run)).trim().split('\n')).toEqual([...claims, ...claims]);
  });

  test.each([
    [
      'a configuration file for CRIU',
      'mkdir -p /etc/criu; echo "action-script /workspace/intruder" > /etc/criu/default.conf',
    ],
    [
      'a plugin for CRIU',
      'mkdir -p /usr/lib/criu /var/lib/criu; cp intruder.so /usr/lib/criu/; cp intruder.so /var/lib/criu/',
    ],
    ['a library to be loaded before all others', 'echo /workspace/intruder.so > /etc/ld.so.preload'],
    [
      'libraries where they are looked for',
      'for l in /lib/*-linux-gnu/*.so.*; do ln -sf /workspace/intruder.so $l; done 2> /dev/null',
    ],
    [
      'a shell and tools of its own',
      'for p in sh dash iptables ip tar cp rm; do ln -sf /workspace/intruder /usr/bin/$p; done',
    ],
  ])('is not obeyed by those who have capabilities: %s', async (_, plant) => {
    const script = `cp /bin/cat kept; echo ready; ${plant}; exec ./waiter 1 100000`;
    let run = await stage().start(['sh', '-c', script], async (workspace) => {
      await withPrograms('intruder')(workspace);
      await execa('cc', ['-shared', '-fPIC', '-o', join(workspace, 'intruder.so'), INTRUDER]);
      await execa('cp', [await program('memory'), join(workspace, 'waiter')]);
    });
    await untilLines(run, 1);
    for (const epoch of [1, 2]) {
      run = await stage().move(run, epoch);
      expect(await readdir(run.workspace)).not.toContain('intruded');
    }
  });

  test("cannot put folders of its own in the place of Floe's", async () => {
    const script = 'mv /floe /elsewhere; mv /floe/toolbox /floe/gone; rm -rf /floe; ls /floe; echo done';
    let run = await stage().start(['sh', '-c', `${script}; sleep 1000`]);
    await untilLines(run, 1);
    expect(await readFile(run.logs.stderr, 'utf8')).toMatch(
      /mv: cannot move '\/floe' to '\/elsewhere': Device or resource busy/,
    );
    run = await stage().move(run, 1);
    run.signal(constants.signals.SIGTERM);
    expect(await run.ended).toEqual({ kind: 'killed', signal: constants.signals.SIGTERM });
  });
});
