/** What a job in a container cannot do and cannot see: each claim is tried from inside, before and after a move. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { onStage, output, untilLines } from '../testing/stage.ts';
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
      ...['write toolbox: EROFS', 'write agent: EROFS', 'chown: EPERM', 'device: EPERM'],
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
});
