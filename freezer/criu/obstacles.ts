/** What a program can have that CRIU does not dump, in words for the owner of a job, and what to do about it. */
export interface Obstacle {
  readonly what: string;
  readonly remedy: string;
}

/** Those that are seen in two ways: in /proc before a dump, and in CRIU's own words after one that failed. */
export const obstacles = {
  ioUring: {
    what: 'an io_uring',
    remedy: 'Let the program use epoll instead (for Node and libuv: UV_USE_IO_URING=0).',
  },
  userfaultfd: { what: 'a userfaultfd', remedy: 'Run the program without user-space page fault handling.' },
  secretMemory: {
    what: 'secret memory (memfd_secret)',
    remedy: 'Let the program keep its secrets in ordinary memory.',
  },
  perfEvent: { what: 'a perf event', remedy: 'Run the program without its profiler.' },
  bpf: { what: 'a BPF object', remedy: 'Run the program without BPF.' },
  virtualMachine: { what: 'a virtual machine', remedy: 'Virtual machines cannot be frozen.' },
  gpu: { what: 'a GPU', remedy: 'GPUs cannot be frozen: let the program keep its own checkpoints in /workspace.' },
  device: { what: 'an open device', remedy: 'Close the device before the checkpoint; GPUs cannot be frozen.' },
  multipathTcp: {
    what: 'a Multipath TCP socket',
    remedy: 'Let the program use plain TCP (for programs in Go: GODEBUG=multipathtcp=0).',
  },
  corkedSocket: {
    what: 'a UDP socket that is corked and has data to send',
    remedy: 'Let the program uncork it; try again.',
  },
  debugger: {
    what: 'a debugger or tracer attached',
    remedy: 'Detach it (strace, gdb and the like) before the checkpoint.',
  },
  probes: { what: 'probes of a tracer in it (uprobes)', remedy: 'Remove the probes before the checkpoint.' },
  namespaces: {
    what: 'namespaces of its own',
    remedy: "Run the program without a sandbox inside the job (unshare, bubblewrap, a browser's own).",
  },
  largeDeletedFile: {
    what: 'a deleted file of more than 4 GiB still open or mapped',
    remedy: 'Let the file keep its name until the program is through with it.',
  },
  packetPipe: { what: 'a pipe in packet mode (O_DIRECT)', remedy: 'Let the program use an ordinary pipe or a socket.' },
  stoppedThread: { what: 'single threads stopped', remedy: 'Let them go on; try again.' },
  sharedMemoryHole: {
    what: 'System V shared memory mapped in part',
    remedy: 'Let the program attach the segment whole, or use shm_open or memfd_create.',
  },
  openSecret: {
    what: 'a secret open or mapped, which may be another one at the thaw',
    remedy: 'Let the program read the file, close it, and read it again when it needs it.',
  },
  watchedFile: {
    what: 'a watch (inotify) on a file that has no name any more',
    remedy: 'Let the program take the watch away when it removes the file.',
  },
} as const satisfies Record<string, Obstacle>;

/** The limit is CRIU's, as Floe sets it: such a file is carried within the images. */
export const LARGEST_DELETED_FILE = { option: '4G', bytes: 4 * 2 ** 30 } as const;

/** A kind of socket that CRIU has no words for, by the kernel's name for its protocol. */
export function unknownSocket(protocol: string): Obstacle {
  if (protocol.startsWith('MPTCP')) return obstacles.multipathTcp;
  const what = `a kind of socket that CRIU does not know (${protocol})`;
  return {
    what,
    remedy: 'Close the socket before the checkpoint, or let the program talk over TCP, UDP or UNIX sockets.',
  };
}

const BY_INODE: readonly [beginning: string, obstacle: Obstacle][] = [
  ['io_uring', obstacles.ioUring],
  ['userfaultfd', obstacles.userfaultfd],
  ['perf_event', obstacles.perfEvent],
  ['bpf', obstacles.bpf],
  ['kvm', obstacles.virtualMachine],
];

/** Something that only the kernel has, and CRIU has no words for, by the kernel's name for it. */
export function unknownKernelObject(name: string): Obstacle {
  const known = BY_INODE.find(([beginning]) => name.startsWith(beginning));
  if (known) return known[1];
  return {
    what: `something of the kernel's that CRIU does not know (${name})`,
    remedy: 'Close it before the checkpoint.',
  };
}
