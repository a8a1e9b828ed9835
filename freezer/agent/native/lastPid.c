/*
 * Makes the next process of this PID namespace get PID NUMBER + 1:
 *
 *   last-pid NUMBER
 *   last-pid            as an --action-script of `criu restore`, at the stage `post-restore` and at no other: all processes of the job
 *                       are there then, and none of them runs yet
 *
 * /proc/sys is read-only in a container, or a job could turn the machine's knobs as its uid 0. So this looks at a /proc of its own,
 * in a mount namespace that ends with it. Needs CAP_SYS_ADMIN. Environment, as a script: CRTOOLS_SCRIPT_ACTION is the stage (CRIU's),
 * FLOE_LAST_PID the number. Exit status: 0, or 1 with the reason on stderr, upon which CRIU gives up.
 */
#include "ownProc.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *what) {
  perror(what);
  return 1;
}

int main(int count, char **arguments) {
  const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
  if (action != NULL && strcmp(action, "post-restore") != 0) return 0;
  const char *number = action != NULL ? getenv("FLOE_LAST_PID") : count == 2 ? arguments[1] : NULL;
  if (number == NULL) {
    fprintf(stderr, "usage: last-pid NUMBER\n");
    return 1;
  }
  if (mount_own_proc("last-pid") != 0) return 1;
  int file = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
  if (file < 0) return failed("last-pid: ns_last_pid");
  size_t length = strlen(number);
  if (write(file, number, length) != (ssize_t)length) return failed("last-pid: ns_last_pid");
  return 0;
}
