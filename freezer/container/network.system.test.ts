/** Whom a job in a container can reach over the network: the world, and neither another job nor the machine. */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run } from '../runtime.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import { debian, debianOnPodman } from './testing/kinds.ts';

const PORT = 45_671;
/** A machine beyond this one, which is a network namespace. */
const OUTSIDE = { address: '198.51.100.2', gateway: '198.51.100.1' };

/** How a program can ask the kernel for a connection: with an option of socket(7), by its number, and a value. */
const WAYS = { plain: '', 'by its device': '25, "eth0\\0"', unrouted: '5, pack("i", 1)' };

/** Prints who it is, answers whoever connects, and each time that it is told to, tries to connect to all that it is told, in all ways. */
const JOB = `
use strict; use IO::Socket::INET; $| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "0.0.0.0", LocalPort => ${PORT}, Listen => 5, ReuseAddr => 1) or die $!;
if (fork == 0) { while (my $client = $server->accept) { close $client } }
print \`hostname -I\`;
my @ways = (${Object.values(WAYS).map((option) => `[${option}]`)});
while (1) {
  select undef, undef, undef, 0.02 until -s "targets" and rename "targets", "taken";
  open my $file, "<", "taken"; chomp(my @targets = <$file>);
  for my $target (@targets) { for my $way (@ways) {
    socket my $socket, AF_INET, SOCK_STREAM, 0 or die $!;
    !@$way or setsockopt $socket, SOL_SOCKET, $way->[0], $way->[1] or die $!;
    my $reached = connect $socket, pack_sockaddr_in(${PORT}, inet_aton $target);
    print "$target: ", ($reached ? "reached" : "$!"), "\\n";
  } }
}`;

const ip = (...args: string[]) => execa('ip', args);
const SERVE = `use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => "0.0.0.0", LocalPort => ${PORT}, Listen => 5) or die; print "ready\\n"; STDOUT->flush; while (my $c = $s->accept) { close $c }`;

/** Disposing ends it. Not by `ip netns`, which mounts over the folder where Podman has its own. */
async function openOutside(): Promise<AsyncDisposable> {
  const { address, gateway } = OUTSIDE;
  const [near, far] = [`floe-n${process.pid}`, `floe-f${process.pid}`];
  const server = execa('unshare', ['--net', 'perl', '-e', SERVE], { reject: false });
  const opened = new AsyncDisposableStack();
  opened.defer(async () => {
    server.kill();
    await server;
  });
  await once(server.stdout, 'data');
  const inside = (...args: string[]) => execa('nsenter', ['--net', '--target', String(server.pid), 'ip', ...args]);
  await ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far);
  await ip('link', 'set', far, 'netns', String(server.pid));
  await ip('address', 'add', `${gateway}/24`, 'dev', near);
  await ip('link', 'set', near, 'up');
  await inside('address', 'add', `${address}/24`, 'dev', far);
  await inside('link', 'set', far, 'up');
  return opened;
}

describe.each([
  ['docker', debian],
  ['podman', debianOnPodman],
] as const)('%s: a job in a container', (_, kind) => {
  const stage = onStage(kind);
  const machine = createServer((socket) => socket.on('error', () => undefined).end());
  let outside: AsyncDisposable | undefined;
  beforeAll(async () => {
    outside = await openOutside();
    machine.listen(PORT, '0.0.0.0');
    await once(machine, 'listening');
  });
  afterAll(async () => {
    machine.close();
    await outside?.[Symbol.asyncDispose]();
  });

  const machinesOwn = () =>
    Object.values(networkInterfaces())
      .flatMap((addresses = []) => addresses)
      .flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : []));
  const addressOf = async (run: Run) => {
    await untilLines(run, 1);
    return (await output(run)).trim().split(' ')[0] ?? '';
  };

  test('reaches the world, and neither the machine nor another job, before and after a move', async () => {
    const other = await addressOf(await stage().start(['perl', '-e', JOB]));
    let run = await stage().start(['perl', '-e', JOB]);
    await addressOf(run);
    const forbidden = [other, ...machinesOwn()];
    const targets = [OUTSIDE.address, ...forbidden];
    const answersOf = (address: string, answers: string[]) => answers.map((answer) => `${address}: ${answer}`);
    const answers = [
      ...answersOf(OUTSIDE.address, ['reached', 'reached', 'Network is unreachable']),
      ...forbidden.flatMap((address) =>
        answersOf(address, ['No route to host', 'Operation not permitted', 'No route to host']),
      ),
    ];
    for (const move of [1, 2]) {
      await writeFile(join(run.workspace, 'targets.new'), `${targets.join('\n')}\n`);
      await execa('mv', ['targets.new', 'targets'], { cwd: run.workspace });
      await untilLines(run, 1 + move * answers.length);
      expect((await output(run)).trim().split('\n').slice(-answers.length)).toEqual(answers);
      if (move === 1) run = await stage().move(run, move);
    }
  });
});
