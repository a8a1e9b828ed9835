/** A job's way out, and where it must not lead: tried from inside, with services outside that nobody may reach. */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { processTree } from '../../test/support/processes.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import { LEAST_ACCESS } from './machineAccess.ts';
import { openProcessRuntime } from './runtime.ts';

const stage = onStage({
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
});
/** Another machine, as far as jobs are concerned: a namespace behind a veth pair, from addresses that are for tests (RFC 5737). */
const NEIGHBOUR = {
  namespace: `floe-test-${process.pid}`,
  device: `fl${process.pid % 1e6}`,
  ours: '203.0.113.1',
  theirs: '203.0.113.2',
};
let server: Server;
let abstract: Server;
let port = 0;
const visitors: string[] = [];

beforeAll(async () => {
  server = createServer((socket) => {
    visitors.push(socket.remoteAddress ?? '');
    socket.destroy();
  });
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
  port = (server.address() as { port: number }).port;
  abstract = createServer((socket) => socket.end());
  abstract.listen(`\0floe-test-${process.pid}`);
  await once(abstract, 'listening');
  await ip('netns', 'add', NEIGHBOUR.namespace);
  await ip('link', 'add', NEIGHBOUR.device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', NEIGHBOUR.namespace);
  await ip('addr', 'add', `${NEIGHBOUR.ours}/30`, 'dev', NEIGHBOUR.device);
  await ip('link', 'set', NEIGHBOUR.device, 'up');
  await ip('-n', NEIGHBOUR.namespace, 'addr', 'add', `${NEIGHBOUR.theirs}/30`, 'dev', 'eth0');
  await ip('-n', NEIGHBOUR.namespace, 'link', 'set', 'eth0', 'up');
});
afterAll(async () => {
  server.close();
  abstract.close();
  await ip('link', 'del', NEIGHBOUR.device);
  await ip('netns', 'del', NEIGHBOUR.namespace);
});

const ip = (...words: string[]) => execa('ip', words);

/** The machine, by all of its names, each tried by the routes and then past them, by naming the device. */
const REACH = String.raw`use Socket; $| = 1;
my ($port, $abstract, @addresses) = @ARGV;
sub reach { my ($address, $device) = @_;
  socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
  setsockopt($s, SOL_SOCKET, 25, "$device\0") or print "cannot bind to $device: $!\n" if $device;
  local $SIG{ALRM} = sub { die "late\n" }; alarm 2;
  my $done = eval { connect($s, pack_sockaddr_in($port, inet_aton($address))) }; alarm 0;
  print "reached $address by ", $device || "its routes", "\n" if $done;
}
while (1) {
  for my $address (@addresses) { reach($address, $_) for "", "tap0" }
  socket(my $s, PF_UNIX, SOCK_STREAM, 0); print "reached an abstract socket\n" if connect($s, pack_sockaddr_un("\0$abstract"));
  print "--\n"; select undef, undef, undef, 0.02 until unlink "go";
}`;

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses);
  return all.filter(({ family }) => family === 'IPv4').map(({ address }) => address);
}

describe('a job with a network of its own', () => {
  test('reaches no service of the machine, whichever name it has, before and after three moves', async () => {
    const names = [...ownAddresses(), '127.0.0.53', '0.0.0.0', '10.0.2.2', '10.0.2.3', '255.255.255.255'];
    let run = await stage().start(['perl', '-e', REACH, String(port), `floe-test-${process.pid}`, ...names]);
    for (const epoch of [1, 2, 3]) {
      await untilLines(run, epoch, 180_000);
      run = await stage().move(run, epoch);
      await writeFile(join(run.workspace, 'go'), '');
    }
    await untilLines(run, 4, 180_000);
    expect(await output(run)).toBe('--\n'.repeat(4));
    expect(visitors).toEqual([]);
  });

  test('reaches its own services by the name of its machine', async () => {
    const script = `use IO::Socket::INET; use Sys::Hostname; $| = 1;
my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '0.0.0.0') or die;
my $c = IO::Socket::INET->new(PeerAddr => hostname(), PeerPort => $l->sockport) or die "no way to itself: $@";
print $c->peerhost, "\n"; sleep 600`;
    const run = await stage().start(['perl', '-e', script]);
    await untilLines(run, 1);
    expect(await output(run)).toMatch(/^127\..*\n$/);
  });

  test('reaches no metadata of a cloud', async () => {
    const fake = '169.254.169.254';
    await ip('addr', 'add', `${fake}/32`, 'dev', 'lo');
    try {
      const run = await stage().start(['perl', '-e', REACH, String(port), 'none', fake]);
      await untilLines(run, 1);
      expect(await output(run)).toBe('--\n');
      expect(visitors).toEqual([]);
    } finally {
      await ip('addr', 'del', `${fake}/32`, 'dev', 'lo');
    }
  });

  test('reaches another machine, and goes on listening at its own address, through three moves', async () => {
    const echo = execa(
      'ip',
      [
        ...['netns', 'exec', NEIGHBOUR.namespace, 'perl', '-MIO::Socket::INET', '-e'],
        'my $l = IO::Socket::INET->new(Listen => 9, LocalPort => 7007) or die; print STDERR "listens\n"; while (my $c = $l->accept) { print $c "hello\n"; close $c }',
      ],
      { reject: false },
    );
    await once(echo.stderr, 'data');
    try {
      const script = String.raw`use IO::Socket::INET; $| = 1;
        my @listeners = map { IO::Socket::INET->new(Listen => 1, LocalAddr => $_, LocalPort => 7008) or die "$_: $!" } qw(10.0.2.100 127.0.0.1);
        while (1) { my $c = IO::Socket::INET->new(PeerAddr => "${NEIGHBOUR.theirs}", PeerPort => 7007, Timeout => 20) or die $@; print "said ", scalar <$c>;
          for (qw(10.0.2.100 127.0.0.1)) { print IO::Socket::INET->new(PeerAddr => $_, PeerPort => 7008, Timeout => 20) ? "listens at $_\n" : "gone from $_\n" }
          select undef, undef, undef, 0.02 until unlink "go"; }`;
      let run = await stage().start(['perl', '-e', script]);
      for (const epoch of [1, 2, 3]) {
        await untilLines(run, 3 * epoch);
        run = await stage().move(run, epoch);
        await writeFile(join(run.workspace, 'go'), '');
      }
      await untilLines(run, 12);
      expect(await readFile(run.logs.stderr, 'utf8')).toBe('');
      expect(await output(run)).toBe('said hello\nlistens at 10.0.2.100\nlistens at 127.0.0.1\n'.repeat(4));
    } finally {
      echo.kill('SIGKILL');
      await echo;
    }
  });

  test("leaves the machine's own mounts alone, shared ones too", async () => {
    const mounts = () => readFile('/proc/self/mountinfo', 'utf8');
    expect(await mounts()).toContain(`/run/netns/${NEIGHBOUR.namespace} `);
    const run = await stage().start(['true']);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await mounts()).toContain(`/run/netns/${NEIGHBOUR.namespace} `);
  });

  test('has no way out that outlives it', async () => {
    const ways = async () =>
      (await processTree(process.pid)).filter(({ command }) => command[0]?.endsWith('slirp4netns')).length;
    const run = await stage().start(['sh', '-c', 'echo ready; sleep 1000']);
    await untilLines(run, 1);
    expect(await ways()).toBe(1);
    await run.kill();
    expect(await ways()).toBe(0);
  });

  test('is lost when its way out is, and says so', async () => {
    const run = await stage().start(['sh', '-c', 'echo ready; sleep 1000']);
    await untilLines(run, 1);
    const way = (await processTree(process.pid)).find(({ command }) => command[0]?.endsWith('slirp4netns'));
    process.kill(way?.pid ?? 0, 'SIGKILL');
    expect(await run.ended).toEqual({ kind: 'lost', reason: expect.stringContaining('way out to the network ended') });
  });
});

test('a job without a network has nothing but itself', async () => {
  const run = await stage().start(['sh', '-c', 'tail -n +3 /proc/net/dev; tail -n +2 /proc/net/route'], undefined, {
    network: 'none',
  });
  expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  expect((await output(run)).split('\n').map((line) => line.trim().split(':')[0])).toEqual(['lo', '']);
});

test('a job asks the name servers that its operator names', async () => {
  const access = { ...LEAST_ACCESS, nameservers: ['192.0.2.53', '192.0.2.54'] };
  const runtime = openProcessRuntime({
    stateDirectory: stage().stateDirectory('dns'),
    toolboxDirectory: defaultToolbox(),
    access,
  });
  const { attachLease } = stage();
  const program = stage().program(['grep', '^nameserver', '/etc/resolv.conf']);
  await using run = await runtime.start({ jobId: 'a', epoch: 1, program, attachLease });
  expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  expect(await output(run)).toBe('nameserver 192.0.2.53\nnameserver 192.0.2.54\n');
});
