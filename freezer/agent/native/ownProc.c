#define _GNU_SOURCE
#include "ownProc.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

static int failed(const char *who, const char *what) {
  fprintf(stderr, "%s: %s: %s\n", who, what, strerror(errno));
  return -1;
}

int mount_own_proc(const char *who) {
  if (unshare(CLONE_NEWNS) != 0) return failed(who, "unshare");
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return failed(who, "mount /");
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) return failed(who, "mount /proc");
  return 0;
}
