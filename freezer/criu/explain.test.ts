import { expect, test } from 'vitest';
import { explainUndumpable, firstErrors } from './explain.ts';

const LOG = `(00.001) Error (criu/rlimit.c:20): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.041) Warn  (criu/x.c:1): something
(00.042200) Error (criu/sk-unix.c:861): unix: Can't dump half of stream unix connection.
(00.042217) Error (criu/cr-dump.c:1674): Dump files (pid: 1003) failed with -1
(00.045) Error (criu/cr-dump.c:2098): Dumping FAILED.`;

test("CRIU's errors are given without time stamps and positions, the first first", () => {
  expect(firstErrors(LOG)).toEqual([
    "unix: Can't dump half of stream unix connection.",
    'Dump files (pid: 1003) failed with -1',
    'Dumping FAILED.',
  ]);
});

test('what is known to be undumpable is named', () => {
  expect(explainUndumpable(LOG)?.what).toContain('UNIX socket');
  expect(
    explainUndumpable(
      "(00.1) Error (criu/files.c:1): Can't dump file 3 of that type [600] (anon anon_inode:[userfaultfd])",
    )?.what,
  ).toBe('a userfaultfd');
});

test('an error that says nothing known is not guessed at', () => {
  expect(explainUndumpable('(00.1) Error (criu/page-xfer.c:2): page-xfer: The page server does not answer')).toBeNull();
  expect(explainUndumpable('')).toBeNull();
});

test.each([
  ['Error (criu/sk-inet.c:153): inet: Unsupported proto 262 for socket 1f', 'Multipath TCP'],
  ["Error (criu/sk-inet.c:504): inet: Can't dump corked dgram socket 1f", 'corked'],
  ["Error (criu/namespaces.c:460): Can't dump nested uts namespace for 1004", 'namespaces'],
  ["Error (criu/files-reg.c:1031): Can't dump ghost file /a of 5368709120 size, increase limit", 'deleted file'],
  ["Error (criu/proc_parse.c:640): Can't handle non-regular mapping on 1004's map 7f00", 'device'],
  ['Error (criu/pipes.c:490): The packetized mode for pipes is not supported yet', 'packet mode'],
  ['Error (criu/proc_parse.c:555): PID 1004 has uprobes vma. Consider using --allow-uprobes.', 'uprobes'],
  ['Error (criu/seize.c:952): Individually stopped threads not supported', 'threads'],
  ['Error (criu/shmem.c:355): Sysv shmem 1 with a hole not supported', 'System V'],
  ["Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle", 'inotify'],
  ['Error (criu/sk-queue.c:144): sk-queue: Control messages in queue, not supported', 'under way'],
])('%s', (line, word) => {
  expect(explainUndumpable(`(00.1) ${line}`)?.what).toContain(word);
});
