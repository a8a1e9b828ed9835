/** Turns CRIU's log into one sentence for people. */
import { type Obstacle, obstacles } from './obstacles.ts';

/** What CRIU's errors mean to the owner of a job, most specific first. */
const KNOWN: readonly [pattern: RegExp, obstacle: Obstacle][] = [
  [
    /unix.*(external|half of|peer .* (not|isn)|Can't dump)/i,
    {
      what: 'a UNIX socket connected to a process outside the job',
      remedy: 'Close the connection before the checkpoint, or let the job talk over TCP and reconnect.',
    },
  ],
  [/io_uring/i, obstacles.ioUring],
  [/userfaultfd/i, obstacles.userfaultfd],
  [/perf_event/i, obstacles.perfEvent],
  [/bpf/i, obstacles.bpf],
  [/corked dgram/i, obstacles.corkedSocket],
  [/Unsupported proto 262/i, obstacles.multipathTcp],
  [/uprobes/i, obstacles.probes],
  [/nested \w+ namespace|Nested .* namespaces/i, obstacles.namespaces],
  [/ghost file .* increase limit/i, obstacles.largeDeletedFile],
  [/packetized mode/i, obstacles.packetPipe],
  [/Individually stopped threads/i, obstacles.stoppedThread],
  [/Sysv shmem .*(?:hole|misordered)/i, obstacles.sharedMemoryHole],
  [/Can't dump that handle|suitable path for handle/i, obstacles.watchedFile],
  [
    /Can't dump (?:half of )?(?:char|block) device|Can't dump file .* of that type|dev_t|non-regular mapping|No .*plugin.* for .*device/i,
    obstacles.device,
  ],
  [
    /in.?flight|SCM_RIGHTS|Control messages in queue/i,
    {
      what: 'a descriptor that is under way in a socket',
      remedy: 'Try again: it is gone once it has been received.',
    },
  ],
  [
    /external (?:terminal|tty)|tty/i,
    { what: 'a terminal from outside the job', remedy: 'Start the program without a terminal.' },
  ],
  [
    /Can't dump a?.*(?:socket|sock)|Unsupported (?:socket|proto|sk)|Only stream|Unknown socket/i,
    { what: 'a kind of socket that CRIU does not know', remedy: 'Close the socket before the checkpoint.' },
  ],
];

/** What CRIU goes on after: it says so wherever it has no CAP_SYS_RESOURCE. */
const HARMLESS = /Can't setup RLIMIT_NOFILE for self/;

/** The first errors in the log, which name the cause, without CRIU's time stamps and source positions. */
export function firstErrors(log: string, most = 3): string[] {
  const lines = log.split('\n').flatMap((line) => {
    const match = /Error \([^)]*\):\s*(.*)$/.exec(line);
    return match?.[1] && !HARMLESS.test(match[1]) ? [match[1]] : [];
  });
  return lines.slice(0, most);
}

/** What cannot be dumped and what to do about it, when the log tells; null when it does not. */
export function explainUndumpable(log: string): Obstacle | null {
  const errors = firstErrors(log, 10).join('\n');
  return KNOWN.find(([pattern]) => pattern.test(errors))?.[1] ?? null;
}
