/*
 * Says whether this process may use io_uring: "io_uring: available" or "io_uring: " and the reason. The supervisor refuses it to
 * jobs, with ENOSYS, because CRIU cannot dump it. Exit status: 0 available, 1 refused.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  struct io_uring_params parameters = {0};
  long ring = syscall(SYS_io_uring_setup, 8, &parameters);
  printf("io_uring: %s\n", ring >= 0 ? "available" : strerror(errno));
  return ring >= 0 ? 0 : 1;
}
