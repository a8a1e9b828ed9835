/** Turns CRIU's log into one sentence for people. */

/** What CRIU's errors mean to the owner of a job, most specific first. */
const KNOWN: readonly [pattern: RegExp, meaning: string, remedy: string][] = [
  [
    /unix.*(external|half of|peer .* (not|isn)|Can't dump)/i,
    'a UNIX socket connected to a process outside the job',
    'Close the connection before the checkpoint, or let the job talk over TCP and reconnect.',
  ],
  [/io_uring/i, 'an io_uring', 'Let the program use epoll instead (for Node and libuv: UV_USE_IO_URING=0).'],
  [/userfaultfd/i, 'a userfaultfd', 'Run the program without user-space page fault handling.'],
  [/perf_event/i, 'a perf event', 'Run the program without its profiler.'],
  [/bpf/i, 'a BPF object', 'Run the program without BPF.'],
  [
    /Can't dump (?:half of )?(?:char|block) device|Can't dump file .* of that type|dev_t|No .*plugin.* for .*device/i,
    'an open device',
    'Close the device before the checkpoint; GPUs cannot be frozen.',
  ],
  [
    /in.?flight|SCM_RIGHTS/i,
    'a descriptor that is under way in a socket',
    'Try again: it is gone once it has been received.',
  ],
  [/external (?:terminal|tty)|tty/i, 'a terminal from outside the job', 'Start the program without a terminal.'],
  [
    /Can't dump a?.*(?:socket|sock)|Unsupported (?:socket|protocol|sk)/i,
    'a kind of socket that CRIU does not know',
    'Close the socket before the checkpoint.',
  ],
];

/** The last errors in the log, oldest first, without CRIU's time stamps and source positions. */
export function lastErrors(log: string, most = 3): string[] {
  const lines = log.split('\n').flatMap((line) => {
    const match = /Error \([^)]*\):\s*(.*)$/.exec(line);
    return match?.[1] ? [match[1]] : [];
  });
  return lines.slice(0, most);
}

/** What cannot be dumped and what to do about it, when the log tells; null when it does not. */
export function explainUndumpable(log: string): { what: string; remedy: string } | null {
  const errors = lastErrors(log, 10).join('\n');
  const found = KNOWN.find(([pattern]) => pattern.test(errors));
  return found ? { what: found[1], remedy: found[2] } : null;
}
