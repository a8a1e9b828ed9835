/*
 * Holds secret memory (memfd_secret), which CRIU cannot dump, until told to let go of it.
 *
 *   undumpable [SECONDS]     prints "holding: secret memory", sleeps (default 3600), prints "done"; exit status 0
 *
 * On SIGUSR1 it closes it, prints "let go", and sleeps on: from then on it can be frozen.
 * Exit status 2 when the kernel has no secret memory, or keeps it for itself (secretmem.enable).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t told_to_let_go;

static void let_go(int signal) {
  (void)signal;
  told_to_let_go = 1;
}

int main(int count, char **arguments) {
  int fd = (int)syscall(SYS_memfd_secret, 0);
  if (fd < 0) {
    perror("undumpable: memfd_secret");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("holding: secret memory\n");
  struct sigaction action = {.sa_handler = let_go};
  sigaction(SIGUSR1, &action, NULL);
  struct timespec rest = {count > 1 ? atol(arguments[1]) : 3600, 0};
  while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    if (!told_to_let_go || fd < 0) continue;
    close(fd);
    fd = -1;
    printf("let go\n");
  }
  printf("done\n");
  return 0;
}
