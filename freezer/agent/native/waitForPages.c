/*
 * Loaded into the daemon of `criu lazy-pages` ahead of the C library: lets it sleep while its pages are on their way.
 *
 * Once the restore is through, the daemon asks without end whether anything has come (poll_timeout of handle_requests in
 * criu/uffd.c), and takes a whole processor from those who bring its pages. What it may do when nothing has come, it does after the
 * first such answer: ask for the next pages of one process. So the second question in a row is the one that waits. It waits shortly,
 * because there may be another process to ask for.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>

enum { WAIT_MS = 1 };

int epoll_wait(int descriptor, struct epoll_event *events, int most, int timeout_ms) {
  static bool was_empty;
  int count = epoll_pwait(descriptor, events, most, timeout_ms == 0 && was_empty ? WAIT_MS : timeout_ms, NULL);
  was_empty = count == 0;
  return count;
}
