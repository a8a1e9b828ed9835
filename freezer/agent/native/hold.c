/*
 * Keeps CRIU waiting once its images are written. CRIU runs it as its --action-script, without arguments, at each of its
 * stages, and waits for it.
 *
 * Environment: CRTOOLS_SCRIPT_ACTION is the stage (CRIU's), FLOE_CONTROL the folder where the agent listens. At `post-dump`
 * it makes the pipe `release` there, then the file `held`, and waits for a byte in the pipe; at every other stage it does
 * nothing. Exit status: 0 at other stages; 1 at `post-dump`, once released or when it could not wait (the reason is in CRIU's
 * log). To CRIU that is a failure of the dump, upon which it lets the program go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(const char *what) {
  fprintf(stderr, "Error (floe): cannot hold the job: %s: %s\n", what, strerror(errno));
  return 1;
}

int main(void) {
  const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *control = getenv("FLOE_CONTROL");
  if (action == NULL || strcmp(action, "post-dump") != 0) return 0;
  if (control == NULL || chdir(control) != 0) return failed("FLOE_CONTROL");
  if (mkfifo("release", 0600) != 0) return failed("release");
  /* Open for writing too, it never reads as ended. */
  int pipe = open("release", O_RDWR | O_CLOEXEC);
  if (pipe < 0) return failed("release");
  int held = open("held", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (held < 0) return failed("held");
  char byte;
  while (read(pipe, &byte, 1) < 0)
    if (errno != EINTR) return failed("release");
  return 1;
}
