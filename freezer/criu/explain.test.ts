import { expect, test } from 'vitest';
import { explainUndumpable, lastErrors } from './explain.ts';

const LOG = `(00.041) Warn  (criu/x.c:1): something
(00.042200) Error (criu/sk-unix.c:861): unix: Can't dump half of stream unix connection.
(00.042217) Error (criu/cr-dump.c:1674): Dump files (pid: 1003) failed with -1
(00.045) Error (criu/cr-dump.c:2098): Dumping FAILED.`;

test("CRIU's errors are given without time stamps and positions, the first first", () => {
  expect(lastErrors(LOG)).toEqual([
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
