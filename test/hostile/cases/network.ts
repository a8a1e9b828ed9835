/** Where a job's connections must not get to: services of the machine, its sockets, and what clouds tell machines. */
import type { Attack, Ground } from '../attack.ts';
import { Breach } from '../breach.ts';
import { intrude } from '../programs.ts';

/** A function for the shell: connects to HOST PORT, asks for PATH and prints the answer. */
const CONNECT = `connect() { timeout 4 perl -MSocket -e '
  ($host, $port, $path) = @ARGV; socket S, PF_INET, SOCK_STREAM, 0;
  connect S, sockaddr_in($port, inet_aton($host)) or exit 0;
  syswrite S, "GET $path HTTP/1.0\\r\\nMetadata: true\\r\\n\\r\\n"; sysread S, $answer, 4096; print $answer' "$@"; }`;

/** Addresses that lead to the machine from inside: its own, and the way out of a container. */
const GATEWAYS = `$(awk '$2 == "00000000" { print $3 }' /proc/net/route | sed 's/\\(..\\)\\(..\\)\\(..\\)\\(..\\)/0x\\4 0x\\3 0x\\2 0x\\1/' | while read a b c d; do printf '%d.%d.%d.%d ' $a $b $c $d; done)`;

function sockets({ stage }: Ground) {
  return stage.parts.canaries.sockets;
}

export const network: Attack[] = [
  {
    name: 'network/services-on-loopback',
    wants: 'Services that listen on 127.0.0.1 because nobody but the machine should reach them.',
    isQuick: true,
    order: (ground) => ({
      script: `${CONNECT}; for a in 127.0.0.1 127.0.0.2 0.0.0.0 127.1.2.3; do connect $a ${sockets(ground).loopbackPort} /; connect $a ${sockets(ground).anyPort} /; done; true`,
    }),
  },
  {
    name: 'network/services-of-the-machine',
    wants: "The same at the machine's own addresses, as its gateway shows them.",
    runtimes: ['process'],
    order: (ground) => ({
      script: `${CONNECT}; for a in ${sockets(ground).hostAddresses.join(' ')} ${GATEWAYS}; do connect $a ${sockets(ground).anyPort} /; done; true`,
    }),
  },
  {
    name: 'network/metadata',
    wants: "The machine's credentials from the cloud's metadata endpoint.",
    order: () => ({
      script: `${CONNECT}; for a in 169.254.170.2 169.254.169.254 100.100.100.200; do connect $a 80 /latest/meta-data/iam/security-credentials/; done
        ip route delete unreachable 169.254.170.2; ip route flush table all; ip link set lo down; connect 169.254.170.2 80 /v2/credentials; true`,
    }),
  },
  {
    name: 'network/abstract-socket',
    wants: 'A service behind an abstract socket, which belongs to a network namespace.',
    order: async (ground) => ({
      files: { intrude: await intrude() },
      script: `./intrude connect ${sockets(ground).abstractName}; cat /proc/net/unix | head -c 20000`,
    }),
  },
  {
    name: 'network/sockets-in-run',
    wants: "The engine's socket, Redis', the system's: whoever connects there is root.",
    order: (ground) => ({
      script: `for s in ${sockets(ground).path} /run/*.sock /run/*/*.sock /run/*/* /var/run/docker.sock ${ground.stage.parts.directory}/*/*.sock /var/lib/floe*/*/*/*.sock; do
          [ -S $s ] && echo "sees $s" && timeout 1 perl -MSocket -e '$| = 1; socket S, AF_UNIX, SOCK_STREAM, 0; print "connected to $ARGV[0]\\n" if connect S, sockaddr_un($ARGV[0]); sysread S, $a, 999; print $a' $s
        done; true`,
    }),
    check: (_, { stdout }) => {
      if (stdout !== '') throw new Breach(`it found sockets of the machine: ${stdout.slice(0, 300)}`);
    },
  },
  {
    name: 'network/redis',
    wants: 'The queue: with it, it decides what every worker runs.',
    order: (ground) => ({
      script: `for a in 127.0.0.1 ${sockets(ground).hostAddresses.join(' ')}; do timeout 4 perl -MSocket -e '
        socket S, PF_INET, SOCK_STREAM, 0; connect S, sockaddr_in(${ground.stage.parts.redisPort}, inet_aton($ARGV[0])) or exit; print "connected\\n"; syswrite S, "PING\\r\\nINFO\\r\\n"; sysread S, $a, 4096; print $a' $a; done; true`,
    }),
    check: (_, { stdout }) => {
      if (stdout.includes('connected')) throw new Breach('it is connected to Redis');
    },
  },
  {
    name: 'network/none-is-none',
    wants: 'A network although its job has none.',
    order: (ground) => ({
      script: `${CONNECT}; connect ${sockets(ground).hostAddresses[0] ?? '127.0.0.1'} ${sockets(ground).anyPort} /; sed 1,2d /proc/net/dev | grep -v lo: ; true`,
      spec: { network: 'none' },
    }),
    check: (_, { stdout }) => {
      if (stdout.trim() !== '') throw new Breach(`it has a network: ${stdout.slice(0, 200)}`);
    },
  },
];
