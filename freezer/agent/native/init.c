/*
 * A container's main process: starts the agent, reaps what is left to it, and holds the lease on the job.
 *
 *   init COMMAND [ARGUMENT ...]
 *
 * COMMAND, the agent, finds a pipe as descriptor 3. Each time it writes "MS\n" there, the lease holds for MS milliseconds
 * more; before the first time it does not run. When it runs out, or when the agent has ended, init ends, and the kernel
 * everything else in the PID namespace with it. The lease is here, and not with the agent, because a job of the same user could stop
 * or kill the agent, but no process in a PID namespace can do that to its first (pid_namespaces(7)).
 *
 * Exit status: the agent's, or 128 and its signal, or 1 when the lease ran out. SIGTERM and SIGINT are passed on to the agent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LEASE_FD = 3, CANNOT_START = 127 };

static volatile sig_atomic_t wanted_signal;

static void note(int number) {
  if (number != SIGCHLD) wanted_signal = number;
}

/* Of a clock that goes on while the machine sleeps: others may have the job by then. */
static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* The last whole number in what the agent wrote counts: later renewals take the place of earlier ones. */
static int64_t read_renewal(int pipe, int64_t ends_at) {
  static char line[32];
  static size_t length;
  char byte;
  while (read(pipe, &byte, 1) == 1) {
    if (byte != '\n') {
      if (length < sizeof line - 1) line[length++] = byte;
      continue;
    }
    int64_t ms = 0;
    for (size_t at = 0; at < length && line[at] >= '0' && line[at] <= '9'; at++) ms = ms * 10 + (line[at] - '0');
    length = 0;
    ends_at = now_ms() + ms;
  }
  return ends_at;
}

/* -1 while the agent lives, else its exit status. */
static int reap(pid_t agent) {
  int status, result = -1;
  for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;)
    if (ended == agent) result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

static int watch(pid_t agent, int pipe, const sigset_t *usual) {
  int64_t ends_at = INT64_MAX;
  for (;;) {
    int ended = reap(agent);
    if (ended >= 0) return ended;
    if (wanted_signal != 0) kill(agent, wanted_signal), wanted_signal = 0;
    int64_t left = ends_at - now_ms();
    if (left <= 0) {
      fprintf(stderr, "floe: the lease on the job ran out\n");
      return 1;
    }
    struct timespec timeout = {left / 1000, left % 1000 * 1000000};
    struct pollfd entry = {pipe, POLLIN, 0};
    int found = ppoll(&entry, 1, ends_at == INT64_MAX ? NULL : &timeout, usual);
    if (found > 0 && (entry.revents & POLLIN)) ends_at = read_renewal(pipe, ends_at);
    else if (found > 0) pipe = -1; /* the agent is about to end */
  }
}

int main(int count, char **arguments) {
  int ends[2];
  sigset_t noted, usual;
  if (count < 2 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return CANNOT_START;
  sigemptyset(&noted);
  const int signals[] = {SIGCHLD, SIGTERM, SIGINT};
  struct sigaction action = {.sa_handler = note};
  for (size_t at = 0; at < sizeof signals / sizeof *signals; at++) {
    sigaddset(&noted, signals[at]);
    sigaction(signals[at], &action, NULL);
  }
  sigprocmask(SIG_BLOCK, &noted, &usual);
  pid_t agent = fork();
  if (agent < 0) return CANNOT_START;
  if (agent == 0) {
    sigprocmask(SIG_SETMASK, &usual, NULL);
    if (ends[1] == LEASE_FD) fcntl(LEASE_FD, F_SETFD, 0);
    else dup2(ends[1], LEASE_FD);
    execv(arguments[1], arguments + 1);
    fprintf(stderr, "floe: %s: %s\n", arguments[1], strerror(errno));
    _exit(CANNOT_START);
  }
  close(ends[1]);
  return watch(agent, ends[0], &usual);
}
