/** What a program can hold that CRIU does not dump, in words for the owner of a job, and what to do about it. */
export interface Obstacle {
  readonly what: string;
  readonly remedy: string;
}

/** Those that are seen in two ways: among the open files before a dump, and in CRIU's own words after one that failed. */
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
  gpu: { what: 'a GPU', remedy: 'GPUs cannot be frozen: let the program keep its own checkpoints in /workspace.' },
  device: { what: 'an open device', remedy: 'Close the device before the checkpoint; GPUs cannot be frozen.' },
} as const satisfies Record<string, Obstacle>;
