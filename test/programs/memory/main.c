/*
 * The reference job: a program that notices every wrong byte in its memory, its files and its clock.
 *
 *   memory SIZE_MIB STEPS|SECONDSs [plain|random|threads|tree|shared] [--pace-ms MS] [--seed N] [--exit CODE] [--die SIGNAL]
 *
 * It fills SIZE_MIB of memory with a pattern and then takes STEPS steps ("90s": as many as fit in 90 s). Each step rewrites
 * a part of the memory, verifies another, verifies and changes the files in the working directory (see files.c), checks
 * the clock, prints "step N DIGEST", and sleeps MS (default 20). What a page must hold follows from the number of the
 * step alone, so memory that is older or newer than the step counter, or than the files, does not verify.
 *
 *   plain    one thread, memory that compresses well              random   the same, memory that does not compress
 *   threads  four threads, each with a part, in step by a condition variable
 *   tree     three child processes, each with its own copy (on write) of the memory; pipes, shared anonymous memory and a
 *            POSIX shared memory segment between them
 *   shared   the memory itself is shared by three processes, in step by a condition variable inside it
 *
 * Once it gets a SIGUSR1 it sleeps no more.
 *
 * The last line is "done CHECKSUM", and the checksum and all other output are the same for the same arguments, however
 * often the program was stopped and moved. Exit status: 0 or CODE, or death by SIGNAL; 2 wrong usage or no resources;
 * 3 after a line "CORRUPT …".
 */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void corrupt(const char *format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  int length = snprintf(line, sizeof line, "CORRUPT process %d: ", getpid());
  length += vsnprintf(line + length, sizeof line - length - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length++] = '\n';
  if (write(STDOUT_FILENO, line, length) < 0) _exit(4);
  _exit(3);
}

void give_up(const char *what) {
  fprintf(stderr, "memory: %s: %s\n", what, strerror(errno));
  _exit(2);
}

static uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static volatile sig_atomic_t is_in_a_hurry;

static void hurry(int signal) {
  (void)signal;
  is_in_a_hurry = 1;
}

/* Sleeps, and checks that the clock went on by at least as much and never ran backwards. */
static void pace(uint64_t step, uint64_t pace_ns) {
  static uint64_t last;
  uint64_t before = monotonic_ns();
  if (before < last) corrupt("step %lu: the clock went back by %lu ns", step, last - before);
  struct timespec wait = {pace_ns / 1000000000, pace_ns % 1000000000};
  while (!is_in_a_hurry && nanosleep(&wait, &wait) != 0 && errno == EINTR) continue;
  last = monotonic_ns();
  if (is_in_a_hurry) pace_ns = 0;
  if (last < before + pace_ns) corrupt("step %lu: slept %ld ns instead of %lu", step, (long)(last - before), pace_ns);
}

static int usage(void) {
  fprintf(stderr, "usage: memory SIZE_MIB STEPS|SECONDSs [plain|random|threads|tree|shared] [--pace-ms MS] [--seed N]"
                  " [--exit CODE] [--die SIGNAL]\n");
  return 2;
}

int main(int count, char **arguments) {
  const char *mode = "plain", *modes[] = {"plain", "random", "threads", "tree", "shared"};
  long pace_ms = 20, seed = 1, code = 0, death = 0;
  if (count < 3) return usage();
  for (int i = 3; i < count; i++) {
    long *option = strcmp(arguments[i], "--pace-ms") == 0 ? &pace_ms : strcmp(arguments[i], "--seed") == 0 ? &seed
                 : strcmp(arguments[i], "--exit") == 0    ? &code    : strcmp(arguments[i], "--die") == 0  ? &death : NULL;
    if (option && i + 1 < count) *option = atol(arguments[++i]);
    else mode = arguments[i];
  }
  int known = 0;
  for (int i = 0; i < 5; i++) known |= strcmp(mode, modes[i]) == 0;
  char *unit;
  long size_mib = atol(arguments[1]), steps = strtol(arguments[2], &unit, 10);
  if (*unit == 's') steps = steps * 1000 / (pace_ms > 0 ? pace_ms : 1);
  if (!known || size_mib < 1 || steps < 1 || pace_ms < 0) return usage();

  signal(SIGUSR1, hurry);
  setvbuf(stdout, NULL, _IOLBF, 0);
  uint64_t (*take_step)(uint64_t) = start_mode(mode, size_mib * 256, seed);
  uint64_t checksum = seed;
  open_files();
  printf("memory: %ld MiB, %ld steps, %s\n", size_mib, steps, mode);
  for (long step = 1; step <= steps; step++) {
    checksum = mix(checksum ^ take_step(step));
    update_files(step, checksum);
    printf("step %ld %016lx\n", step, checksum);
    pace(step, pace_ms * 1000000ULL);
  }
  close_files(steps);
  end_processes();
  printf("done %016lx\n", checksum);
  if (death) raise((int)death);
  return (int)code;
}
