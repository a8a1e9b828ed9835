/** What a job's processes do to others: those of Floe beside it, those of the machine, and the kernel. */
import type { Attack, Ended } from '../attack.ts';
import { require } from '../breach.ts';
import { intrude } from '../programs.ts';

/** Nothing that needs a privilege worked. */
function nothingWorked(_: unknown, { stdout }: Ended): void {
  const done = stdout.split('\n').filter((line) => line.endsWith(': DONE'));
  require(done.length === 0, `it could: ${done.join(', ')}`);
}

const READ_PROCESSES = `for p in /proc/[0-9]* /proc/$PPID /proc/1; do
  for f in environ cmdline maps stack auxv; do head -c 4000 $p/$f; done
  ls -l $p/fd $p/cwd $p/exe $p/root/ 
  for fd in $p/fd/*; do timeout 1 head -c 2000 $fd < /dev/null; done
  for w in root etc var/lib run opt srv mnt; do head -c 200 $p/root/$w/floe-hostile*/secret $p/cwd/../../$w/floe-hostile*/secret; done
done 2> /dev/null | head -c 3000000`;

export const processes: Attack[] = [
  {
    name: 'processes/read-all-of-proc',
    wants: 'Environments, open files and folders of every process that it sees, of the agent above all.',
    isQuick: true,
    order: () => ({ script: READ_PROCESSES }),
  },
  {
    name: 'processes/read-and-trace-memory',
    wants: 'The memory of every process that it sees.',
    order: async () => ({ files: { intrude: await intrude() }, script: './intrude processes' }),
    check: nothingWorked,
  },
  {
    name: 'processes/privileged-calls',
    wants: 'Mounts, namespaces, modules, devices, clocks: what is for root of the machine.',
    order: async () => ({ files: { intrude: await intrude() }, script: './intrude privileges' }),
    check: nothingWorked,
  },
  {
    name: 'processes/type-into-a-terminal',
    wants: 'To type commands into a terminal of whoever started the worker (TIOCSTI).',
    order: async () => ({ files: { intrude: await intrude() }, script: "./intrude type 'touch /root/typed\n'" }),
    check: nothingWorked,
  },
  {
    name: 'processes/kill-everything',
    wants: 'The end of everything that it can signal, again and again.',
    order: () => ({
      script: `perl -e 'for (1..20) { kill 9, -1; kill 9, 1; kill "STOP", 1, getppid(); select undef, undef, undef, .05 }'; for p in $(seq 1 400); do kill -9 $p; done 2> /dev/null`,
    }),
    mayCrash: true,
  },
  {
    name: 'processes/kill-the-victim',
    wants: "The end of a process of root's, whose number it knows.",
    order: ({ stage }) => {
      const { pid } = stage.parts.canaries.process;
      return { script: `kill -9 ${pid}; kill -STOP ${pid}; cat /proc/${pid}/environ; true` };
    },
    ends: /^succeeded/,
  },
  {
    name: 'processes/stop-the-supervisor',
    wants: 'That nobody sees how it ends.',
    order: () => ({ script: 'kill -STOP $PPID; kill -KILL $PPID; sleep 2; exit 5' }),
    mayCrash: true,
  },
  {
    name: 'processes/survive-the-end',
    wants: 'To go on running when the job has ended.',
    order: ({ stage, runtime }) => ({
      script: `(setsid setsid perl -e '$0 = "floe-hostile-survivor-${runtime}"; $SIG{$_} = "IGNORE" for qw(TERM HUP INT); fork; sleep 1 while 1; "${stage.parts.directory}"' > /dev/null 2>&1 &); sleep 1`,
    }),
    ends: /^succeeded/,
    check: async ({ runtime }) => {
      const { execa } = await import('execa');
      const { stdout } = await execa('ps', ['-eo', 'args']);
      require(!stdout.includes(`floe-hostile-survivor-${runtime}`), 'a process of the job runs on after its end');
    },
  },
  {
    name: 'processes/ignore-every-signal',
    wants: 'Not to end at its time limit.',
    order: () => ({
      script: `trap '' TERM INT HUP QUIT; perl -e '$SIG{$_} = "IGNORE" for keys %SIG; sleep 1 while 1'`,
      spec: { timeoutMs: 2000 },
    }),
    ends: /^failed timedOut/,
  },
  {
    name: 'processes/fork-bomb',
    wants: 'Every process number of the machine.',
    isBomb: true,
    order: () => ({ script: `perl -e 'fork while 1' 2> /dev/null`, spec: { timeoutMs: 8000 } }),
    ends: /^failed/,
  },
  {
    name: 'processes/twenty-thousand-threads',
    wants: 'The same, by threads.',
    isBomb: true,
    order: async () => ({ files: { intrude: await intrude() }, script: './intrude threads 20000' }),
    check: (_, { stdout }) => {
      const made = Number(/threads: (\d+)/.exec(stdout)?.[1] ?? 0);
      require(made < 19_000, `it had ${made} threads`);
    },
  },
  {
    name: 'processes/zombies',
    wants: 'Process numbers, by children that nobody waits for.',
    order: () => ({ script: `perl -e 'for (1..300) { fork or exit } sleep 3'` }),
  },
  {
    name: 'processes/memory-bomb',
    wants: "The machine's memory.",
    isBomb: true,
    order: () => ({
      script: `perl -e '$x .= "x" x 10_000_000 while 1'`,
      spec: { resources: { memoryBytes: '64MiB' }, timeoutMs: 30_000 },
    }),
    ends: /^failed (memoryExceeded|signal 9|exit)/,
  },
  {
    name: 'processes/memory-by-shared-files',
    wants: 'The same, by files in /dev/shm, which are memory.',
    isBomb: true,
    order: () => ({
      script:
        'dd if=/dev/zero of=/dev/shm/fill bs=1M count=20000 2>&1 | tail -1; dd if=/dev/zero of=/tmp/fill bs=1M count=20000 2>&1 | tail -1; sleep 5',
      spec: { resources: { memoryBytes: '64MiB' }, timeoutMs: 40_000 },
    }),
    ends: /^failed/,
  },
  {
    name: 'processes/settings-of-the-kernel',
    wants: 'A program of its own as the handler of core dumps, or other settings of the machine.',
    order: () => ({
      script: `for f in core_pattern modprobe hotplug panic sysrq hostname pid_max ns_last_pid; do echo '|/workspace/owned' > /proc/sys/kernel/$f; done
        echo b > /proc/sysrq-trigger; echo 1 > /proc/sys/vm/drop_caches; echo 1 > /proc/irq/default_smp_affinity
        for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/owned; echo /workspace/owned > $d/release_agent; echo 0 > $d/cgroup.procs; done
        echo -1000 > /proc/self/oom_score_adj; echo c > /proc/1/oom_score_adj; ls /sys/kernel/debug /sys/kernel/security; true`,
    }),
    ends: /^succeeded/,
  },
  {
    name: 'processes/devices',
    wants: "The machine's disks and memory by device files.",
    order: () => ({
      script: `for d in /dev/*; do [ -b $d ] && echo "block device $d"; done; for d in mem kmem port kmsg vda sda nvme0n1 loop0 fuse kvm; do head -c 100 /dev/$d > /dev/null && echo "read $d"; mknod $d b 254 0 && head -c 100 $d > /dev/null && echo "made $d"; done 2> /dev/null; true`,
    }),
    check: (_, { stdout }) => require(stdout === '', `it found ${stdout}`),
  },
  {
    name: 'processes/truncate-its-log',
    wants: 'To take back what it wrote, through the files of the supervisor.',
    order: () => ({
      script: `echo first; sleep 1; for p in $PPID /proc/self /proc/[0-9]*; do for f in 1 2 3 4 5; do
        truncate -s 0 /proc/\${p#/proc/}/fd/$f; truncate -s 15T /proc/\${p#/proc/}/fd/$f; done; done 2> /dev/null
        truncate -s 0 /floe/logs/stdout /dev/stdout 2> /dev/null; sleep 2; echo last`,
    }),
    check: (_, { stdout }) => require(stdout === 'first\nlast\n', `its log is ${JSON.stringify(stdout.slice(0, 200))}`),
  },
  {
    name: 'processes/speak-to-the-agent',
    wants: "To give orders to the agent, or to pass for it, at Floe's own sockets and pipes.",
    order: () => ({
      script: `perl -MSocket -e 'for $s (glob("/floe/*/*"), glob("/floe/*"), glob("/dev/shm/floe*/*")) { next unless -S $s; socket S, AF_UNIX, SOCK_STREAM, 0; print "connected to $s\\n" if connect S, sockaddr_un($s) }'
        for fd in 3 4 5 6 7; do echo 99999999 > /proc/$PPID/fd/$fd; echo 99999999 > /proc/1/fd/$fd; done 2> /dev/null; ls /floe/images /floe/common /floe/control && echo listed; true`,
    }),
    // What it writes to its own pipe, by whatever way, is in its log, and harms nobody.
    check: (_, { stdout }) => require(!/connected|listed/.test(stdout), `it could: ${stdout}`),
  },
  {
    name: 'processes/cannot-be-frozen',
    wants: 'That a freeze waits for ever: a parent that waits in vfork, stopped and traced children.',
    order: () => ({
      script: `perl -e 'if (!fork) { if (!syscall(58)) { sleep 6; syscall(60, 0) } exit } kill "STOP", $$ if !fork; sleep 5'; true`,
    }),
  },
];
